import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.models import circle_search, scann_search
from tfrs_himirec.tree import kmeans

DIM = 6


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def tree():
    return kmeans.build_tree(_normal(150, 3), config.Tree(k=3, c=12))[0]


@pytest.fixture(scope="module")
def vectors():
    return _normal(150, DIM, seed=1)


def _naive(vectors, tree, query, node, excluded, results):
    """Places, scores and log normaliser of one user in one circle."""
    if node < 0:
        return [], [], -np.inf
    circle = range(tree.start[node], tree.end[node])
    scores = {place: float(vectors[place] @ query) for place in circle}
    normalizer = np.log(np.sum(np.exp(list(scores.values()))))
    free = [place for place in circle if place not in set(excluded.tolist())]
    best = sorted(free, key=lambda place: -scores[place])[:results]
    return best, [scores[place] for place in best], normalizer


def _denied(tree, nodes, beam, excluded) -> np.ndarray:
    """What a beam may not return: exclusions, and its user's circles inside it."""
    circles = [range(tree.start[n], tree.end[n]) for n in nodes if n >= 0]
    if nodes[beam] < 0:
        return excluded
    own = set(range(tree.start[nodes[beam]], tree.end[nodes[beam]]))
    inside = [list(c) for c in circles if set(c) < own]
    return np.concatenate([excluded, *inside]).astype(int)


def _check(found, vectors, tree, queries, nodes, excluded, results) -> None:
    batch, beams = nodes.shape
    assert found.places.shape == found.scores.shape == (batch, beams, results)
    for user, beam in np.ndindex(batch, beams):
        places, scores, normalizer = _naive(
            vectors,
            tree,
            queries[user, beam],
            nodes[user, beam],
            _denied(tree, nodes[user], beam, excluded[user]),
            results,
        )
        missing = results - len(places)
        assert found.places[user, beam].numpy().tolist() == places + missing * [-1]
        padded = scores + missing * [-np.inf]
        np.testing.assert_allclose(found.scores[user, beam], padded, rtol=1e-4)
        np.testing.assert_allclose(
            found.log_normalizer[user, beam], normalizer, rtol=1e-4
        )


@pytest.mark.parametrize("results", [1, 7, 40, 200])
def test_random_circles_agree_with_brute_force(tree, vectors, results):
    rng = np.random.default_rng(results)
    nodes = rng.integers(-1, tree.nodes, (9, 5), np.int32)
    nodes[0] = [0, -1, tree.nodes - 1, 0, -1]
    queries, excluded = (
        _normal(9, 5, DIM, seed=2),
        rng.integers(-1, 150, (9, 20), np.int32),
    )
    index = circle_search.ExactCircleIndex(vectors, tree.start, tree.end)
    assert index.is_exact()
    arguments = (queries, nodes, excluded, results)
    _check(index(*arguments), vectors, tree, *arguments)


@pytest.mark.parametrize("repeat", [-3.0, 2.0])
def test_what_was_seen_is_moved_before_anything_is_ranked(tree, vectors, repeat):
    nodes = np.array([[0, tree.children[0, 1]], [0, tree.children[0, 0]]], np.int32)
    queries = _normal(2, 2, DIM, seed=4)
    places = np.array([[3, -1, 7, 90], [0, 1, 2, -1]], np.int32)
    seen = circle_search.Seen(tf.constant(places), tf.constant(repeat))
    index = circle_search.ExactCircleIndex(vectors, tree.start, tree.end)
    nobody = np.full((2, 1), -1, np.int32)
    found = index(queries, nodes, tf.constant(nobody), tree.items, seen)
    for user, beam in np.ndindex(2, 2):
        start, end = (int(b) for b in index.range_of(nodes[user, beam]))
        scores = vectors @ queries[user, beam]
        scores[places[user][places[user] >= 0]] += repeat
        inside = scores[start:end]
        normalizer = np.log(np.exp(inside).sum())
        assert float(found.log_normalizer[user, beam]) == pytest.approx(
            normalizer, rel=1e-4
        )
        denied = _denied(tree, nodes[user], beam, nobody[user])
        free = np.setdiff1d(np.arange(start, end), denied)
        wanted = free[np.argsort(-scores[free], kind="stable")]
        returned = found.places[user, beam, : len(wanted)].numpy()
        np.testing.assert_array_equal(returned, wanted)


def test_everybody_in_one_circle_with_own_query_and_exclusions(tree, vectors):
    nodes = np.full((6, 2), tree.children[0, 1], np.int32)
    queries = _normal(6, 2, DIM, seed=3)
    first = tree.start[nodes[0, 0]]
    excluded = np.where(np.eye(6, dtype=bool), first + np.arange(6), -1)
    index = circle_search.ExactCircleIndex(vectors, tree.start, tree.end)
    found = index(queries, nodes, tf.constant(excluded, tf.int32), 12)
    _check(found, vectors, tree, queries, nodes, excluded, 12)


def test_a_circle_of_which_everything_is_excluded_is_empty(tree, vectors):
    leaf = int(tree.leaves[2])
    inside = np.arange(tree.start[leaf], tree.end[leaf], dtype=np.int32)
    index = circle_search.ExactCircleIndex(vectors, tree.start, tree.end)
    found = index(_normal(1, 1, DIM), np.array([[leaf]]), inside[None], 5)
    assert (found.places.numpy() == -1).all()
    assert np.isneginf(found.scores.numpy()).all()
    assert np.isfinite(found.log_normalizer.numpy()).all()


def test_no_circle_at_all(tree, vectors):
    nobody = np.full((2, 3), -1, np.int32)
    index = circle_search.ExactCircleIndex(vectors, tree.start, tree.end)
    found = index(_normal(2, 3, DIM), nobody, nobody, 4)
    assert (found.places.numpy() == -1).all()
    assert np.isneginf(found.log_normalizer.numpy()).all()


BIG = 3000
"""Items of the library of the shared test: ScaNN needs large circles."""


@pytest.fixture(scope="module")
def big():
    """Cluster structure, as trained item vectors have it."""
    centers = _normal(30, 8, seed=5)
    items = centers[np.arange(BIG) % 30] + 0.3 * _normal(BIG, 8, seed=6)
    tree, order = kmeans.build_tree(items, config.Tree(k=2, c=400))
    return tree, items[order].astype(np.float32)


def _index(kind: str, tree, vectors, threshold: int = 1000):
    arguments = (vectors, tree.start, tree.end)
    if kind == "exact":
        return circle_search.ExactCircleIndex(*arguments)
    return scann_search.ScannCircleIndex(*arguments, results=20, threshold=threshold)


class _Served(tf.Module):
    def __init__(self, index):
        super().__init__()
        self.index = index
        self.search = tf.function(
            lambda queries, nodes, excluded: index(queries, nodes, excluded, 20),
            input_signature=[
                tf.TensorSpec([None, 3, 8], tf.float32),
                tf.TensorSpec([None, 3], tf.int32),
                tf.TensorSpec([None, None], tf.int32),
            ],
        )


def _requests(tree, vectors, excluded: int):
    """Users that search the root, a large and any other circle."""
    rng = np.random.default_rng(7)
    large = np.flatnonzero(tree.end - tree.start > 1000)
    nodes = rng.integers(-1, tree.nodes, (6, 3)).astype(np.int32)
    nodes[:, 0], nodes[:, 1] = 0, large[-1]
    queries = vectors[rng.integers(0, BIG, (6, 3))] + 0.1 * _normal(6, 3, 8)
    denied = np.stack([rng.permutation(BIG)[:excluded] for _ in range(6)])
    return queries, nodes, denied.astype(np.int32)


def _compare(index, found, vectors, tree, queries, nodes, excluded):
    """Equality for an exact index, recall and honest scores for the other."""
    if index.is_exact():
        _check(found, vectors, tree, queries, nodes, excluded, 20)
        return
    recall = []
    for user, beam in np.ndindex(*nodes.shape):
        query, node = queries[user, beam], nodes[user, beam]
        denied = _denied(tree, nodes[user], beam, excluded[user])
        wanted, _, normalizer = _naive(vectors, tree, query, node, denied, 20)
        places = found.places[user, beam].numpy()
        real = places[places >= 0]
        assert len(set(real)) == len(real) == len(wanted)
        assert not set(real) & set(denied.tolist())
        scores = found.scores[user, beam].numpy()[: len(real)]
        np.testing.assert_allclose(scores, vectors[real] @ query, rtol=1e-3, atol=1e-3)
        if wanted:
            assert ((real >= tree.start[node]) & (real < tree.end[node])).all()
            recall.append(np.isin(wanted, real).mean())
            assert abs(found.log_normalizer[user, beam] - normalizer) < 0.5
    assert np.mean(recall) > 0.9


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_every_index_against_brute_force_also_after_export(kind, big, tmp_path):
    tree, vectors = big
    index = _index(kind, tree, vectors)
    assert index.is_exact() == (kind == "exact")
    served = _Served(index)
    requests = _requests(tree, vectors, excluded=100)
    _compare(index, index(*requests, 20), vectors, tree, *requests)
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    tf.saved_model.save(served, str(tmp_path / "model"), options=options)
    reloaded = tf.saved_model.load(str(tmp_path / "model"))
    found = reloaded.search(*(tf.constant(value) for value in requests))
    _compare(index, found, vectors, tree, *requests)


def test_scann_moves_what_was_seen_as_exact_search_does(big):
    tree, vectors = big
    queries, nodes, nobody = _requests(tree, vectors, excluded=1)
    places = np.argsort(-(queries[:, 1] @ vectors.T), axis=1)[:, :10]
    seen = circle_search.Seen(tf.constant(places, tf.int32), tf.constant(-9.0))
    arguments = (queries, nodes, nobody, 20, seen)
    wanted = _index("exact", tree, vectors)(*arguments)
    found = _index("scann", tree, vectors)(*arguments)
    pairs = zip(wanted.places.numpy(), found.places.numpy(), strict=True)
    assert np.mean([np.isin(w, f).mean() for w, f in pairs]) > 0.9
    inside = places[0][np.isin(places[0], found.places[0, 1])]
    assert len(inside) == 0


def test_scann_gives_way_to_exact_search_when_too_much_is_excluded(big):
    tree, vectors = big
    index = _index("scann", tree, vectors)
    queries, nodes, _ = _requests(tree, vectors, excluded=0)
    best = np.argsort(-(queries[:, 0] @ vectors.T), axis=1)
    excluded = best[:, : scann_search.SPARE + 50].astype(np.int32)
    nodes = np.zeros((6, 1), np.int32)
    found = index(queries[:, :1], nodes, excluded, 20)
    _check(found, vectors, tree, queries[:, :1], nodes, excluded, 20)


def test_scann_without_large_circles_is_exact(big):
    tree, vectors = big
    index = _index("scann", tree, vectors, threshold=BIG)
    assert index.is_exact()
    requests = _requests(tree, vectors, excluded=10)
    _check(index(*requests, 20), vectors, tree, *requests, 20)


def test_recall_per_circle_names_the_large_circles(big):
    tree, vectors = big
    index = _index("scann", tree, vectors)
    recall = scann_search.recall_per_circle(index, vectors[::100], 20)
    assert sorted(recall) == np.flatnonzero(tree.end - tree.start > 1000).tolist()
    assert all(0.8 < value <= 1 for value in recall.values())


def test_scann_may_find_fewer_than_asked_for_one_user(big):
    tree, vectors = big
    arguments = (vectors, tree.start, tree.end)
    index = scann_search.ScannCircleIndex(*arguments, results=300, threshold=1000)
    node = np.array([[index.large[-1]]], np.int32)
    nobody = np.array([[-1]], np.int32)
    found = index(vectors[None, :1], node, nobody, 300)
    places = found.places.numpy()[0, 0]
    count = (places >= 0).sum()
    assert 20 < count == len(set(places[:count]))
    assert (places[count:] == -1).all()
