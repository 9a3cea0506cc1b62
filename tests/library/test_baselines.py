import numpy as np
import pytest

from tfrs_himirec.baselines import ease, item_knn, markov, popular

ITEMS = 12


def _histories(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, ITEMS - 1, size) for size in (1, 2, 5, 9, 0, 14, 3)]


def _transitions(histories, window: int) -> np.ndarray:
    count = np.zeros((ITEMS, ITEMS))
    for history in histories:
        for first in range(len(history)):
            for second in range(first + 1, len(history)):
                if second - first <= window:
                    count[history[first], history[second]] += 1
    for row in count:
        row /= max(row.sum(), 1)
    return count


@pytest.mark.parametrize("window", [1, 3, 20])
@pytest.mark.parametrize(("decay", "events"), [(0.8, 100), (1.0, 4)])
def test_markov_against_a_double_loop(window, decay, events):
    histories, users = _histories(), _histories(seed=1)
    model = markov.WindowedMarkov(ITEMS, window, decay, events).fit(histories)
    transitions = _transitions(histories, window)
    found = model.score(users)
    assert found.shape == (len(users), ITEMS)
    for user, history in enumerate(users):
        wanted = np.zeros(ITEMS)
        for age, item in enumerate(history[::-1][:events]):
            wanted += decay**age * transitions[item]
        np.testing.assert_allclose(found[user], wanted, atol=1e-12)


def test_markov_does_not_connect_users():
    model = markov.WindowedMarkov(4, window=5, decay=0.9)
    model.fit([np.array([0, 1]), np.array([2, 3])])
    assert model.score([np.array([1])]).sum() == 0
    assert model.score([np.array([0])])[0].tolist() == [0, 1, 0, 0]


def test_popular_counts_events():
    model = popular.MostPopular(4).fit([np.array([1, 1, 3]), np.array([1])])
    scores = model.score([np.array([0]), np.array([], int)])
    assert scores.tolist() == [[0, 3, 0, 1]] * 2
    scores[0, 1] = -1  # a caller may write into its scores
    assert model.score([np.array([0])])[0, 1] == 3


def _incidence(histories, decay: float) -> np.ndarray:
    dense = np.zeros((len(histories), ITEMS))
    for user, history in enumerate(histories):
        for age, item in enumerate(history[::-1]):
            dense[user, item] = max(dense[user, item], decay**age)
    return dense


@pytest.mark.parametrize("decay", [1.0, 0.7])
def test_ease_solves_a_ridge_regression_for_each_item_without_itself(decay):
    histories, users = _histories(), _histories(seed=1)
    model = ease.Ease(ITEMS, regularization=2.0, decay=decay).fit(histories)
    x = _incidence(histories, 1.0)
    weights = np.zeros((ITEMS, ITEMS))
    for item in range(ITEMS):
        others = np.arange(ITEMS) != item
        left = x[:, others].T @ x[:, others] + 2.0 * np.eye(ITEMS - 1)
        weights[others, item] = np.linalg.solve(left, x[:, others].T @ x[:, item])
    np.testing.assert_allclose(
        model.score(users), _incidence(users, decay) @ weights, atol=1e-9
    )


@pytest.mark.parametrize("neighbors", [2, 50])
def test_item_knn_against_a_double_loop(neighbors):
    histories, users = _histories(), _histories(seed=1)
    model = item_knn.ItemKnn(ITEMS, neighbors, shrink=0.5).fit(histories)
    x = _incidence(histories, 1.0)
    similarity = np.zeros((ITEMS, ITEMS))
    for i in range(ITEMS):
        for j in set(range(ITEMS)) - {i}:
            norm = np.sqrt(x[:, i].sum() * x[:, j].sum())
            similarity[i, j] = (x[:, i] * x[:, j]).sum() / (norm + 0.5)
        keep = np.argsort(-similarity[i], kind="stable")[:neighbors]
        similarity[i, np.setdiff1d(np.arange(ITEMS), keep)] = 0
    wanted = _incidence(users, 1.0) @ similarity.T
    np.testing.assert_allclose(model.score(users), wanted, atol=1e-9)
