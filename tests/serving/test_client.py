import concurrent.futures
import socket

import pytest
import tensorflow as tf

from serving import answers, client
from tfrs_himirec import errors


@pytest.fixture(scope="module")
def himirec(target):
    with client.Client(target) as opened:
        yield opened


def ids(recommendation):
    return [item.item_id for item in recommendation.items]


def test_recommend_pads_histories(himirec):
    one, two, empty = himirec.recommend([[5], [1, 2, 3], []])
    assert one.interests == [answers.Interest("1/2", 0.75)]
    assert one.items == [
        answers.Item(15, 3.0, "1/2"),
        answers.Item(25, 2.0, "1/2"),
        answers.Item(35, 1.0, None),
    ]
    assert ids(two) == [13, 23, 33]
    assert empty.interests == []
    assert ids(empty) == [10, 20, 30]


def test_exclude_for_all_and_for_each(himirec):
    for_all = himirec.recommend([[5], [15]], exclude=[[25]])
    assert [ids(answer) for answer in for_all] == [[15, 35], [35, 45]]
    for_each = himirec.recommend([[5], [15]], exclude=[[15, 25, 35], []])
    assert [ids(answer) for answer in for_each] == [[], [25, 35, 45]]


def test_text_becomes_int64_ids(himirec):
    assert ids(himirec.recommend([["5"]])[0]) == [15, 25, 35]


@pytest.mark.parametrize("bad", ["five", str(1 << 63)])
def test_ids_that_are_no_int64(himirec, bad):
    with pytest.raises(errors.HimirecError, match=f"{bad}.*are int64"):
        himirec.recommend([[bad]])


def test_string_ids(target):
    with client.Client(target, "words") as words:
        one, two = words.recommend([["5"], [1, 2]], exclude=[["6"]])
    assert ids(one) == ["7", "8"]
    assert ids(two) == ["3", "4", "5"]


def test_lists_of_different_lengths(himirec):
    with pytest.raises(errors.HimirecError, match=r"one entry.*'exclude': 2"):
        himirec.recommend([[1], [2], [3]], exclude=[[1], [2]])


def test_recommend_examples(himirec):
    def example(*values):
        feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        features = tf.train.Features(feature={"history": feature})
        return tf.train.Example(features=features).SerializeToString()

    batch = himirec.recommend_examples([example(5), example(1, 2, 3), example()])
    assert [ids(answer)[0] for answer in batch] == [15, 13, 10]


def test_mine_interests(himirec):
    mined = himirec.mine_interests([[5], []])
    assert mined == [[answers.Interest("1/2", 0.75)], []]


def test_retrieve(himirec):
    found = himirec.retrieve(["1/2", "1"], [[5], [6]], [[5], []], exclude=[[16]])
    assert [item.item_id for item in found[0]] == [15, 25, 35]
    assert found[1][0] == answers.Item(26, 2.0, "1")


def test_eight_threads_share_a_connection(himirec):
    def call(thread):
        numbers = range(1000 * thread + 1, 1000 * thread + 51)
        return [ids(himirec.recommend([[n]])[0])[0] - n for n in numbers]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(8))) == [[10] * 50] * 8


def test_answers_above_the_default_message_limit(himirec):
    batch = himirec.recommend([[1]] * 100_000)
    assert len(batch) == 100_000


def test_unreachable_server():
    with (
        client.Client("localhost:1", timeout=5) as nobody,
        pytest.raises(errors.HimirecError, match=r"localhost:1: no server.*serve"),
    ):
        nobody.recommend([[1]])


def test_unknown_model(target):
    with (
        client.Client(target, "other") as other,
        pytest.raises(errors.HimirecError, match=r"no model 'other'.*Latest\(other\)"),
    ):
        other.recommend([[1]])


def test_timeout():
    with socket.create_server(("localhost", 0)) as silent:
        address = f"localhost:{silent.getsockname()[1]}"
        with (
            client.Client(address, timeout=0.3) as hasty,
            pytest.raises(errors.HimirecError, match="within 0.3 s; raise --timeout"),
        ):
            hasty.recommend([[1]])


def test_refused_request(himirec):
    with pytest.raises(errors.HimirecError, match="refused.*INVALID_ARGUMENT"):
        himirec.recommend([[666]])
