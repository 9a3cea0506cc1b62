import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.schema import sequences
from tfrs_himirec.training import windows
from tfrs_himirec.tree import kmeans

ITEMS = 60

SEED = tf.constant([1, 2])


def _naive_inference_window(history, long_term: int, short_term: int) -> list[int]:
    older, newest = history[:-short_term], history[-short_term:]
    if len(older) > long_term:
        middles = [(slot + 0.5) / long_term for slot in range(long_term)]
        picked = [older[int(middle * len(older))] for middle in middles]
    else:
        picked = [-1] * (long_term - len(older)) + older
    return picked + newest + [-1] * (short_term - len(newest))


@pytest.mark.parametrize(("long_term", "short_term"), [(4, 6), (0, 5), (3, 1)])
def test_inference_window_against_plain_python(long_term, short_term):
    lengths = windows.Lengths(long_term, short_term, next_items=1, cuts=0)
    full = long_term + short_term
    sizes = [0, 1, short_term, full - 1, full, full + 1, 2 * full, 97, 100]
    histories = [list(range(100, 100 + size)) for size in sizes]
    rows = np.full((len(sizes), 100), -1, np.int32)
    for row, history in zip(rows, histories, strict=True):
        row[: len(history)] = history
    found = windows.inference_window(tf.constant(rows), lengths).numpy()
    assert found.shape == (len(sizes), lengths.places)
    for history, window in zip(histories, found, strict=True):
        wanted = _naive_inference_window(history, long_term, short_term)
        assert window.tolist() == wanted


def test_inference_window_does_not_depend_on_padding():
    lengths = windows.Lengths(4, 6, next_items=1, cuts=0)
    rows = np.arange(20)[None]
    wide = np.pad(rows, [[0, 0], [0, 33]], constant_values=-1)
    first = windows.inference_window(tf.constant(rows), lengths)
    np.testing.assert_array_equal(
        first, windows.inference_window(tf.constant(wide), lengths)
    )


def _history(user: int, size: int) -> np.ndarray:
    """Any two histories differ in their first two events."""
    rng = np.random.default_rng(user)
    return np.concatenate([[user, 59 - user], rng.integers(0, ITEMS, max(size - 2, 0))])


SIZES = [2, 3, 7, 8, 9, 20, 33, 64, 1]
HISTORIES = [_history(user, size)[:size] for user, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "sequences").mkdir()
    encode = sequences.Encoder()
    for shard, users in enumerate((HISTORIES[:5], HISTORIES[5:])):
        name = sequences.shard_name("train", shard, 2)
        with tf.io.TFRecordWriter(str(folder / "sequences" / name)) as writer:
            for history in users:
                nothing = np.array([], np.int64)
                writer.write(encode("somebody", history, history, nothing))
    return folder


LENGTHS = windows.Lengths(long_term=3, short_term=8, next_items=4, cuts=6, split=5)


@pytest.fixture(scope="module")
def tree():
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 3))
    tree, order = kmeans.build_tree(vectors, config.Tree(k=3, c=6))
    return tree, order


def _epoch(run_dir, seed: int, constants=None) -> list[dict]:
    """Windows of one epoch, one dictionary of arrays each."""
    dataset = windows.training_windows(run_dir, LENGTHS, 4, seed, constants)
    batches = list(dataset.as_numpy_iterator())
    return [
        {name: values[row] for name, values in batch.items()}
        for batch in batches
        for row in range(len(batch["rows"]))
    ]


def _owners(window) -> list[int]:
    """Users whose history agrees with every place that `slots` names."""
    slots, rows = window["slots"], window["rows"][LENGTHS.long_term :]
    known = slots >= 0
    owners = []
    for user, history in enumerate(HISTORIES):
        if len(history) < 2 or slots.max() >= len(history):
            continue
        first = slots[known][0]
        until = history[first : first + known.sum() + 1]
        future = window["future"][known.sum() - 1, 0]
        wanted = np.append(rows[known], future) if future >= 0 else rows[known]
        if len(until) == len(wanted) and (until == wanted).all():
            owners.append(user)
    return owners


def _owned(run_dir, seed: int, constants=None) -> list[tuple[np.ndarray, dict]]:
    found = []
    for window in _epoch(run_dir, seed, constants):
        owners = _owners(window)
        assert len(owners) == 1, "the histories of this test must tell users apart"
        found.append((HISTORIES[owners[0]], window))
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_event_is_a_slot_once_per_epoch(run_dir, seed):
    used = collections.Counter()
    for window in _epoch(run_dir, seed):
        (user,) = _owners(window)
        used.update((user, slot) for slot in window["slots"].tolist() if slot >= 0)
    wanted = {
        (user, event)
        for user, history in enumerate(HISTORIES)
        for event in range(len(history) - 1)
    }
    newest = {(user, len(history) - 1) for user, history in enumerate(HISTORIES)}
    assert wanted <= set(used) <= wanted | newest  # the newest has no future
    assert set(used.values()) == {1}


def test_slots_and_futures_are_those_of_the_history(run_dir):
    for history, window in _owned(run_dir, 3):
        for place, slot in enumerate(window["slots"]):
            row = window["rows"][LENGTHS.long_term + place]
            following = history[slot + 1 : slot + 5].tolist() if slot >= 0 else []
            assert row == (history[slot] if slot >= 0 else -1)
            assert window["future"][place].tolist() == following + [-1] * (
                4 - len(following)
            )


def test_slots_are_consecutive_and_padding_stands_behind(run_dir):
    for _, window in _owned(run_dir, 3):
        count = (window["slots"] >= 0).sum()
        slots = window["slots"][:count]
        assert slots.tolist() == list(range(slots[0], slots[0] + count))
        assert (window["slots"][count:] == -1).all()


def test_long_term_sample_comes_from_before_the_window(run_dir):
    full = 0
    for history, window in _owned(run_dir, 4):
        start = window["slots"][0]
        sample = window["rows"][: LENGTHS.long_term]
        picked = sample[sample >= 0].tolist()
        assert len(picked) == min(start, LENGTHS.long_term)
        assert (sample[: LENGTHS.long_term - len(picked)] == -1).all()
        full += len(picked) == LENGTHS.long_term
        events = iter(history[:start].tolist())  # a subsequence, hence sorted
        assert all(row in events for row in picked)
    assert full > 0


@pytest.mark.parametrize("start", [0, 2, 3, 50])
def test_long_term_sample_is_sorted_and_without_duplicates(start):
    seen = set()
    for number in range(30):
        seed = tf.constant([number, 0])
        sample = windows._long_term_sample(tf.constant(start), 3, seed).numpy()
        picked = sample[sample >= 0].tolist()
        assert len(picked) == min(start, 3)
        assert picked == sorted(set(picked))
        assert all(event < start for event in picked)
        seen.update(picked)
    assert len(seen) > 3 or start <= 3


@pytest.mark.parametrize("seed", range(3))
def test_cuts_have_a_future(run_dir, seed):
    for _, window in _owned(run_dir, seed):
        assert window["cuts"].shape == (LENGTHS.cuts,)
        assert (window["future"][window["cuts"], 0] >= 0).all()


def test_the_seed_decides_the_windows(run_dir):
    def first(seed):
        return next(
            windows.training_windows(run_dir, LENGTHS, 4, seed).as_numpy_iterator()
        )

    np.testing.assert_array_equal(first(3)["rows"], first(3)["rows"])
    assert (first(3)["slots"] != first(4)["slots"]).any()


def test_windows_differ_between_epochs_of_one_dataset(run_dir):
    dataset = windows.training_windows(run_dir, LENGTHS, 4, seed=0)
    epochs = [
        {
            row.tobytes()
            for batch in dataset.as_numpy_iterator()
            for row in batch["rows"]
        }
        for _ in range(2)
    ]
    assert epochs[0] != epochs[1]


def test_a_long_history_is_cropped(monkeypatch, run_dir):
    monkeypatch.setattr(windows, "MAX_EVENTS", 10)
    history = tf.range(25)
    begins = set()
    for number in range(40):
        piece = windows._crop(history, tf.constant([number, 0])).numpy()
        assert piece.tolist() == list(range(piece[0], piece[0] + 10))
        begins.add(int(piece[0]))
    assert min(begins) < 4
    assert max(begins) > 11
    assert windows._crop(history[:10], SEED).numpy().tolist() == list(range(10))


def test_circles_and_split_histories(run_dir, tree):
    tree, order = tree
    constants = windows.TreeConstants(tree, order)
    place_of = {row: place for place, row in enumerate(order)}
    levels, targets = collections.Counter(), collections.Counter()
    for history, window in _owned(run_dir, 5, constants):
        for cut, target, node, split in zip(
            window["cuts"],
            window["target"],
            window["node"],
            window["split"],
            strict=True,
        ):
            future = window["future"][cut].tolist()
            assert target >= 0
            assert target in future
            targets[future.index(target)] += 1
            leaf = tree.leaf_of_place[place_of[target]]
            line = tree.ancestors[leaf][: tree.level[leaf] + 1].tolist()
            assert node in line
            levels[int(tree.level[leaf] - tree.level[node])] += 1
            inside = range(tree.start[node], tree.end[node])
            seen = history[: window["slots"][cut] + 1].tolist()
            wanted = [row for row in seen if place_of[row] in inside]
            wanted = wanted[::-1][: LENGTHS.split]
            assert split.tolist() == wanted + [-1] * (LENGTHS.split - len(wanted))
    assert levels[0] > sum(levels.values()) / 2  # the leaf more often than not
    assert len(levels) > 1
    assert len(targets) == LENGTHS.next_items


def test_tree_constants_follow_the_order(tree):
    tree, order = tree
    constants = windows.TreeConstants(tree, order)
    for place, row in enumerate(order):
        assert constants.place_of_row[row] == place
        assert constants.leaf_of_row[row] == tree.leaf_of_place[place]


@pytest.mark.parametrize("unified", [False, True])
def test_widest_circles_and_unified_histories(run_dir, tree, unified):
    tree, order = tree
    constants = windows.TreeConstants(tree, order)
    lengths = dataclasses.replace(LENGTHS, widest=True, unified=unified)
    dataset = windows.training_windows(run_dir, lengths, 4, 0, constants)
    levels, unrelated = collections.Counter(), 0
    for batch in dataset.as_numpy_iterator():
        levels.update(tree.level[batch["node"].ravel()].tolist())
        place = constants.place_of_row.numpy()[np.maximum(batch["split"], 0)]
        start = tree.start[batch["node"]][..., None]
        end = tree.end[batch["node"]][..., None]
        unrelated += ((batch["split"] >= 0) & ((place < start) | (place >= end))).sum()
    assert levels[1] > sum(levels.values()) / 2
    assert len(levels) > 2
    assert (unrelated > 0) == unified
