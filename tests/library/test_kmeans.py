import logging
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from tfrs_himirec import config, errors
from tfrs_himirec.tree import kmeans


def _vectors(items: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(items, dim)).astype(np.float32)


def _sizes(tree) -> np.ndarray:
    return tree.end - tree.start


def _check(tree, order, embedding) -> None:
    """What must hold for any tree."""
    assert sorted(order) == list(range(len(embedding)))
    assert order.dtype == np.int64
    assert (tree.start[0], tree.end[0], tree.parent[0]) == (0, len(embedding), -1)
    for node in range(tree.nodes):
        assert tree.start[node] < tree.end[node]
        rows = order[tree.start[node] : tree.end[node]]
        mean = embedding[rows].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(tree.centroid[node], mean, rtol=1e-5, atol=1e-5)
        if tree.is_leaf[node]:
            assert node != 0
            assert (np.diff(rows) > 0).all()
            continue
        children = tree.children[node][tree.children[node] >= 0]
        assert tree.number[children].tolist() == list(range(len(children)))
        assert (children > node).all()
        assert tree.start[children[0]] == tree.start[node]
        assert tree.end[children[-1]] == tree.end[node]
        assert (tree.start[children[1:]] == tree.end[children[:-1]]).all()


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(
    items=st.integers(1, 120),
    distinct=st.integers(1, 120),
    k=st.integers(2, 6),
    c=st.integers(1, 30),
    balance=st.sampled_from([0.0, 0.1, 2.0]),
)
def test_any_tree_is_consistent_and_respects_c(items, distinct, k, c, balance):
    embedding = _vectors(distinct)[np.arange(items) % distinct]
    settings = config.Tree(k=k, c=c, balance=balance, max_depth=200)
    tree, order = kmeans.build_tree(embedding, settings)
    _check(tree, order, embedding)
    assert _sizes(tree)[tree.leaves].max() <= c


def test_separated_clusters_are_found_and_assigned():
    centers = 100 * np.eye(4, dtype=np.float32)
    embedding = np.tile(centers, (25, 1)) + 0.1 * _vectors(100)
    tree, order = kmeans.build_tree(embedding, config.Tree(k=4, c=25))
    assert _sizes(tree).tolist() == [100, 25, 25, 25, 25]
    assert all(len(set(part % 4)) == 1 for part in order.reshape(4, 25))
    assert (kmeans.assign(tree, embedding)[order] == tree.leaf_of_place).all()


def test_assign_agrees_with_a_naive_descent():
    tree, _ = kmeans.build_tree(_vectors(300), config.Tree(k=3, c=20))
    queries = _vectors(50, seed=1)
    leaves = kmeans.assign(tree, queries)
    for query, leaf in zip(queries, leaves, strict=True):
        node = 0
        while not tree.is_leaf[node]:
            children = tree.children[node][tree.children[node] >= 0]
            distance = np.linalg.norm(tree.centroid[children] - query, axis=1)
            node = children[distance.argmin()]
        assert leaf == node


def test_identical_vectors_are_cut_into_equal_runs():
    embedding = np.ones((64, 3), np.float32)
    tree, order = kmeans.build_tree(embedding, config.Tree(k=4, c=4))
    _check(tree, order, embedding)
    assert order.tolist() == list(range(64))
    assert (_sizes(tree)[tree.leaves] == 4).all()


@pytest.mark.parametrize("items", [1, 2, 3])
def test_fewer_items_than_k(items):
    embedding = _vectors(items)
    tree, order = kmeans.build_tree(embedding, config.Tree(k=4, c=10))
    _check(tree, order, embedding)
    assert len(tree.leaves) == items


def test_a_small_library_is_split_once():
    tree, _ = kmeans.build_tree(_vectors(50), config.Tree(k=4, c=100))
    assert tree.depth == 1
    assert len(tree.leaves) == 4


@pytest.mark.parametrize("k", [2, 5])
def test_balance_limits_every_cluster(k):
    embedding = np.concatenate([_vectors(400) * 0.01, 50 + _vectors(20)])
    settings = config.Tree(k=k, c=30, balance=0.25)
    tree, order = kmeans.build_tree(embedding, settings)
    _check(tree, order, embedding)
    sizes = _sizes(tree)
    for node in range(1, tree.nodes):
        limit = math.ceil(1.25 * sizes[tree.parent[node]] / k)
        assert sizes[node] <= limit


def test_max_depth_ends_the_recursion_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        tree, _ = kmeans.build_tree(_vectors(100), config.Tree(k=2, c=1, max_depth=2))
    assert tree.depth == 2
    assert "exceed c = 1 because max_depth is 2" in caplog.text


def test_the_seed_decides_and_repeats():
    embedding = _vectors(500)
    settings = config.Tree(k=3, c=20, sample=50)
    first, order = kmeans.build_tree(embedding, settings)
    again, order_again = kmeans.build_tree(embedding, settings)
    other, _ = kmeans.build_tree(embedding, settings.model_copy(update={"seed": -1}))
    assert first.fingerprint == again.fingerprint
    assert (order == order_again).all()
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_vector_that_is_not_finite_is_named(value):
    embedding = _vectors(10)
    embedding[7, 1] = value
    with pytest.raises(errors.HimirecError, match="row 7 holds NaN, infinity"):
        kmeans.build_tree(embedding, config.Tree())


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,)])
def test_an_empty_embedding_is_refused(shape):
    with pytest.raises(errors.HimirecError, match="expected a non-empty"):
        kmeans.build_tree(np.zeros(shape), config.Tree())
