import math

import numpy as np
import pytest

from tfrs_himirec.evaluation import metrics, users

LISTS = np.array([[4, 2, 9, 7], [1, 3, -1, -1], [5, 6, 7, 8]])
TARGETS = [np.array([2, 7, 7, 11]), np.array([3]), np.array([0, 1])]


def _naive(items: list[int], wanted: list[int], m: int) -> tuple[float, float, float]:
    """Recall, hit rate and NDCG of one user, straight from their definitions."""
    top = [item for item in items[:m] if item >= 0]
    recall = sum(item in top for item in wanted) / len(wanted)
    hit = any(item in wanted for item in top)
    gain = sum(1 / math.log2(i + 2) for i, item in enumerate(top) if item in wanted)
    ideal = sum(1 / math.log2(i + 2) for i in range(min(m, len(set(wanted)))))
    return recall, float(hit), gain / ideal


def test_hits_by_hand():
    found = metrics.hits(LISTS, TARGETS)
    assert found.tolist() == [[0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_per_user_by_hand():
    values = metrics.per_user(LISTS, TARGETS, at=(2, 4))
    assert values["recall@2"].tolist() == [1 / 4, 1, 0]
    assert values["recall@4"].tolist() == [3 / 4, 1, 0]  # a repeated target counts
    assert values["hit_rate@2"].tolist() == [1, 1, 0]
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    wanted = [gain / ideal, 1 / math.log2(3), 0]
    np.testing.assert_allclose(values["ndcg@4"], wanted)


def test_per_user_against_plain_python():
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(30)[:12] for _ in range(20)])
    lists[3, 5:] = -1
    targets = [rng.integers(0, 30, rng.integers(1, 15)) for _ in range(20)]
    for m in (1, 5, 12):
        values = metrics.per_user(lists, targets, at=(m,))
        for user in range(20):
            wanted = _naive(lists[user].tolist(), targets[user].tolist(), m)
            found = [values[f"{n}@{m}"][user] for n in ("recall", "hit_rate", "ndcg")]
            np.testing.assert_allclose(found, wanted)


def test_padding_is_never_a_hit():
    lists, targets = np.array([[-1, -1]]), [np.array([3])]
    assert not metrics.hits(lists, targets).any()
    values = metrics.per_user(lists, targets, at=(2,))
    assert [float(value[0]) for value in values.values()] == [0, 0, 0]


def test_a_perfect_list_scores_one():
    targets = [np.array([3, 1, 2])]
    for m in (2, 3, 5):
        values = metrics.per_user(np.array([[1, 2, 3, 8, 9]]), targets, at=(m,))
        assert values[f"ndcg@{m}"][0] == pytest.approx(1)
        assert values[f"recall@{m}"][0] == pytest.approx(min(m, 3) / 3)


def test_coverage_and_diversity_by_hand():
    leaf = np.array([7, 7, 7, 8, 8, 9])
    lists = np.array([[0, 1, 3, 5], [4, 3, -1, -1], [2, -1, -1, -1]])
    values = metrics.of_lists(lists, items=6, leaf_of_place=leaf, at=(1, 4))
    assert values["coverage@1"] == pytest.approx(3 / 6)
    assert values["coverage@4"] == pytest.approx(6 / 6)
    assert values["circle_diversity@1"] == 0
    # User 0: 1 of 6 pairs is in one circle; user 1: 1 of 1; user 2 has no pair.
    assert values["circle_diversity@4"] == pytest.approx((5 / 6 + 0 + 0) / 3)


def test_top_sorts_and_drops_what_is_denied():
    scores = np.array([[0.1, 5.0, -np.inf, 3.0], [-np.inf, -np.inf, 1.0, -np.inf]])
    assert users.top(scores, 3).tolist() == [[1, 3, 0], [2, -1, -1]]
    assert users.top(scores, 9).shape == (2, 4)


def test_baseline_lists_exclude_the_history():
    class Fixed:
        def score(self, histories):
            return np.repeat(np.array([[5.0, 4.0, 3.0, 2.0, 1.0]]), len(histories), 0)

    histories = [np.array([0, 2]), np.array([], int), np.array([1, 1])]
    someone = users.Users(histories, [np.array([0])] * 3)
    found = users.baseline_lists(Fixed(), someone, 3, True, batch_size=2)
    assert found.tolist() == [[1, 3, 4], [0, 1, 2], [0, 2, 3]]
    found = users.baseline_lists(Fixed(), someone, 2, False, batch_size=2)
    assert found.tolist() == [[0, 1]] * 3


def test_padded_rounds_up():
    found = users.padded([np.arange(70), np.array([], int)])
    assert found.shape == (2, 128)
    assert found[0, :70].tolist() == list(range(70))
    assert (found[0, 70:] == -1).all()
    assert (found[1] == -1).all()
