"""Algorithm 1 of the paper: hierarchical k-means over item embeddings."""

import logging
import math
import warnings
from typing import NamedTuple

import numpy as np
import sklearn.cluster
import sklearn.exceptions
import threadpoolctl

from tfrs_himirec import config, errors
from tfrs_himirec.tree import circle_tree

_CHUNK = 65_536
_MAX_ITERATIONS = 50
_log = logging.getLogger(__name__)


def build_tree(
    embedding: np.ndarray, settings: config.Tree
) -> tuple[circle_tree.CircleTree, np.ndarray]:
    """Clusters items into k circles, and again every circle of more than c items.

    The root is always split, so that there is at least one leaf circle. A circle
    that k-means cannot split (its sample holds identical vectors) is cut into k
    equal runs of ascending rows, which keeps the limit c. Empty clusters are dropped
    and the numbers of the others stay contiguous. A circle at `settings.max_depth`
    is not split, however large.

    Args:
      embedding: float `[items, dim]`.
      settings: k, c, seed, balance, sample and max_depth.

    Returns:
      The tree, and `order`, int64 `[items]`: the row of `embedding` at each place in
      tree order; rows ascend within a leaf circle.

    Raises:
      HimirecError: there are no items, or a vector is not finite.
    """
    vectors = _checked(embedding)
    # One thread: with more, sums in another order give another tree for a seed.
    with threadpoolctl.threadpool_limits(1):
        circles, centroids = _grow(vectors, settings)
    tree = circle_tree.CircleTree(
        k=settings.k,
        parent=np.array([circle.parent for circle in circles], np.int32),
        number=np.array([circle.number for circle in circles], np.int32),
        start=np.array([circle.start for circle in circles], np.int64),
        end=np.array([circle.start + len(circle.rows) for circle in circles], np.int64),
        centroid=np.stack(centroids).astype(np.float32),
    )
    _warn_of_large_leaves(tree, settings)
    return tree, np.concatenate([circles[leaf].rows for leaf in tree.leaves])


class _Circle(NamedTuple):
    parent: int
    number: int
    level: int
    start: int
    rows: np.ndarray


def _grow(
    vectors: np.ndarray, settings: config.Tree
) -> tuple[list[_Circle], list[np.ndarray]]:
    """Returns circles in depth-first order and the mean vector of each."""
    circles: list[_Circle] = []
    centroids = []
    stack = [_Circle(-1, -1, 0, 0, np.arange(len(vectors)))]
    while stack:
        circle = stack.pop()
        node = len(circles)
        members = vectors[circle.rows]
        circles.append(circle)
        centroids.append(members.mean(axis=0, dtype=np.float64))
        small = len(members) <= settings.c or circle.level == settings.max_depth
        if small and node != circle_tree.ROOT:
            continue
        parts = _split(members, settings, node)
        starts = circle.start + np.cumsum([0, *map(len, parts)])
        for number in reversed(range(len(parts))):  # the first child comes off first
            rows = circle.rows[parts[number]]
            stack.append(
                _Circle(node, number, circle.level + 1, int(starts[number]), rows)
            )
    return circles, centroids


def assign(tree: circle_tree.CircleTree, vectors: np.ndarray) -> np.ndarray:
    """Descends from the root to a leaf circle, always to the nearest centroid.

    Args:
      tree: a tree of any depth.
      vectors: float `[items, dim]`.

    Returns:
      int64 `[items]`: a leaf circle for each vector.

    Raises:
      HimirecError: a vector is not finite.
    """
    vectors = _checked(vectors)
    nodes = np.full(len(vectors), circle_tree.ROOT, np.int64)
    for _ in range(tree.depth):
        by_node = np.argsort(nodes, kind="stable")
        current, first = np.unique(nodes[by_node], return_index=True)
        for node, rows in zip(current, np.split(by_node, first[1:]), strict=True):
            if not tree.is_leaf[node]:
                children = tree.children[node][tree.children[node] >= 0]
                nodes[rows] = children[_nearest(vectors[rows], tree.centroid[children])]
    return nodes


def _checked(embedding: np.ndarray) -> np.ndarray:
    vectors = np.asarray(embedding, np.float32)
    if vectors.ndim != 2 or vectors.size == 0:
        raise errors.HimirecError(
            f"item embedding: expected a non-empty [items, dim], received shape "
            f"{list(vectors.shape)}; check that items are left after filtering"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(np.einsum("id,id->i", vectors, vectors))
    if not finite.all():
        raise errors.HimirecError(
            f"item embedding: row {int(np.argmin(finite))} holds NaN, infinity or "
            "values above 1e18; correct or drop this vector"
        )
    return vectors


def _split(vectors: np.ndarray, settings: config.Tree, node: int) -> list[np.ndarray]:
    """Returns the rows of each non-empty cluster, ascending."""
    count = min(settings.k, len(vectors))
    centers = _fit(vectors, count, settings, node)
    capacity = math.ceil((1 + settings.balance) * len(vectors) / settings.k)
    if settings.balance > 0 and capacity < len(vectors):
        labels = _nearest_with_room(_scores(vectors, centers), capacity)
    else:
        labels = _nearest(vectors, centers)
    parts = [np.flatnonzero(labels == number) for number in range(count)]
    parts = [part for part in parts if len(part)]
    if len(parts) == 1 and len(vectors) > settings.c:
        return np.array_split(parts[0], count)
    return parts


def _fit(
    vectors: np.ndarray, count: int, settings: config.Tree, node: int
) -> np.ndarray:
    """Returns centroids, float32 `[count, dim]`, fitted on a sample."""
    rng = np.random.default_rng([settings.seed % 2**63, node])
    size = max(settings.sample, count)
    if size < len(vectors):
        vectors = vectors[np.sort(rng.choice(len(vectors), size, replace=False))]
    model = sklearn.cluster.KMeans(
        count,
        n_init=1,
        max_iter=_MAX_ITERATIONS,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        # Fewer distinct vectors than clusters: the empty clusters are dropped.
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        return model.fit(vectors).cluster_centers_


def _scores(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Half the squared distances, up to a constant of each row: `[rows, count]`."""
    middle = centers.mean(axis=0)  # float32 cancels less around the middle
    centers = centers - middle
    return 0.5 * (centers**2).sum(axis=1) - (vectors - middle) @ centers.T


def _nearest(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Index of the nearest centre, int64 `[rows]`, in chunks of bounded memory."""
    chunks = range(0, len(vectors), _CHUNK)
    return np.concatenate(
        [
            _scores(vectors[place : place + _CHUNK], centers).argmin(axis=1)
            for place in chunks
        ]
    )


def _nearest_with_room(scores: np.ndarray, capacity: int) -> np.ndarray:
    """Greedy assignment with at most `capacity` rows a cluster.

    Every row asks for its nearest open cluster. A cluster that is asked by more rows
    than it has room for takes those that would lose most by going elsewhere, and
    closes; the others ask again. Each round closes a cluster or is the last.

    Args:
      scores: `[rows, count]`, lower is nearer; overwritten.
      capacity: at least `rows / count`.

    Returns:
      int64 `[rows]`.
    """
    labels = np.empty(len(scores), np.int64)
    room = np.full(scores.shape[1], capacity)
    waiting = np.arange(len(scores))
    while len(waiting):
        asked = scores[waiting].argmin(axis=1)
        refused = []
        for cluster in np.unique(asked):
            rows = waiting[asked == cluster]
            if len(rows) > room[cluster]:
                rows = rows[np.argsort(-_loss(scores[rows], cluster), kind="stable")]
                refused.append(rows[room[cluster] :])
                rows = rows[: room[cluster]]
                scores[:, cluster] = np.inf
            labels[rows] = cluster
            room[cluster] -= len(rows)
        waiting = np.sort(np.concatenate(refused)) if refused else waiting[:0]
    return labels


def _loss(scores: np.ndarray, cluster: int) -> np.ndarray:
    """How much further the nearest other cluster is: `[rows]`, may be infinite."""
    others = np.delete(scores, cluster, axis=1)
    return others.min(axis=1, initial=np.inf) - scores[:, cluster]


def _warn_of_large_leaves(tree: circle_tree.CircleTree, settings: config.Tree) -> None:
    sizes = (tree.end - tree.start)[tree.leaves]
    large = int((sizes > settings.c).sum())
    if large:
        _log.warning(
            "%d leaf circles of up to %d items exceed c = %d because max_depth is %d; "
            "raise tree.max_depth, or set tree.balance",
            large,
            sizes.max(),
            settings.c,
            settings.max_depth,
        )
