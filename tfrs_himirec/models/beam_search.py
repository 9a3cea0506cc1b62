"""Beam search constrained to the circle tree, as graph operations."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_himirec.tree import circle_tree

IMPOSSIBLE = -1e30
"""Log-probability of a beam that holds no circle."""

_FIRST = 1e6  # more than any log-probability can differ by


class TreeTables(NamedTuple):
    """What the graph knows of the tree.

    `children`: int32 `[nodes, k + 1]`; -1 = none; the last column is stop, which
    stays in the node. `allowed`: bool `[nodes, k + 1]`. `leaf`: bool `[nodes]`.
    `start`, `end`: int32 `[nodes]`, the circle's range in tree order.
    """

    children: tf.Tensor
    allowed: tf.Tensor
    leaf: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


class Interests(NamedTuple):
    """Circles of each user, most probable first.

    `nodes`: int32 `[batch, beams]`, -1 = none. `log_probability`: float32
    `[batch, beams]` of the path, `IMPOSSIBLE` where there is none. `probability`:
    float32 `[batch, beams]`, what the interest itself stands for: without the circles
    inside it that are interests too. It sums to at most 1.
    """

    nodes: tf.Tensor
    log_probability: tf.Tensor
    probability: tf.Tensor


def tables(tree: circle_tree.CircleTree, inner_stop: bool) -> TreeTables:
    """Builds the constants; `inner_stop` permits stopping above the leaves."""
    nodes = np.arange(tree.nodes, dtype=np.int32)
    stop = tree.is_leaf | (inner_stop & (nodes != circle_tree.ROOT))
    children = np.concatenate([tree.children, np.where(stop, nodes, -1)[:, None]], 1)
    return TreeTables(
        tf.constant(children, tf.int32),
        tf.constant(children >= 0),
        tf.constant(tree.is_leaf),
        tf.constant(tree.start, tf.int32),
        tf.constant(tree.end, tf.int32),
    )


def beam_search(
    step: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    tree: TreeTables,
    depth: int,
    batch: tf.Tensor,
    beams: int,
    circles: str = "complete",
) -> Interests:
    """Finds the most probable paths.

    Complete paths end at a leaf or with the stop token. Prefixes are the paths of
    circles of any level (paper, Eq. 2 with 1 <= p <= m): a circle is at least as
    probable as those inside it, so a user's scattered interests come out as wide
    circles and the concentrated ones as the circles inside them. A cover takes
    the circles below the root first: no interest is missed while beams are left, and
    what remains of them refines the most probable ones.

    Args:
      step: maps chosen numbers int32 `[batch, beams, s]` and visited circles int32
        `[batch, beams, s + 1]` to log-probabilities float32 `[batch, beams, k + 1]`
        of the choices in the last circle.
      tree: constants of the tree.
      depth: levels of the tree; the steps are unrolled.
      batch: int32 scalar.
      beams: paths kept at every step.
      circles: "complete", "prefixes" or "cover".

    Returns:
      The circles, those with the largest probability of their own first.
    """
    choices = tree.children.shape[1]
    numbers = tf.zeros([batch, beams, 0], tf.int32)
    visited = tf.fill([batch, beams, 1], circle_tree.ROOT)
    first = tf.one_hot(0, beams, on_value=0.0, off_value=IMPOSSIBLE)
    scores = tf.repeat(first[None], batch, axis=0)
    frozen = tf.one_hot(choices - 1, choices, on_value=0.0, off_value=IMPOSSIBLE)
    done = tf.zeros([batch, beams], tf.bool)
    found = []
    for _ in range(depth):
        logs = tf.where(done[..., None], frozen, step(numbers, visited))
        logs = tf.where(tf.gather(tree.allowed, visited[..., -1]), logs, IMPOSSIBLE)
        total = tf.reshape(scores[..., None] + logs, [batch, beams * choices])
        scores, index = tf.math.top_k(total, beams)
        source, chosen = index // choices, index % choices
        numbers = tf.gather(numbers, source, batch_dims=1)
        visited = tf.gather(visited, source, batch_dims=1)
        moves = tf.gather(tree.children, visited[..., -1])
        node = tf.maximum(tf.gather(moves, chosen, batch_dims=2), 0)
        numbers = tf.concat([numbers, chosen[..., None]], -1)
        visited = tf.concat([visited, node[..., None]], -1)
        done = tf.gather(tree.leaf, node) | (chosen == choices - 1)
        moved = chosen != choices - 1  # otherwise the circle was found before
        found.append((node, tf.where(moved, scores, IMPOSSIBLE)))
    if circles == "complete":
        return _interests(visited[..., -1], scores, tf.exp(scores))
    nodes, scores = (tf.concat(column, axis=1) for column in zip(*found, strict=True))
    first = tf.range(tf.shape(scores)[1]) < (beams if circles == "cover" else 0)
    _, index = tf.math.top_k(tf.where(first, scores + _FIRST, scores), beams)
    nodes, scores = (tf.gather(c, index, batch_dims=1) for c in (nodes, scores))
    own = _without_nested(nodes, tf.exp(scores), tree)
    order = tf.argsort(own, direction="DESCENDING", stable=True)
    columns = (nodes, scores, own)
    return _interests(*(tf.gather(column, order, batch_dims=1) for column in columns))


def _interests(nodes, scores, own) -> Interests:
    possible = scores > IMPOSSIBLE / 2
    return Interests(
        tf.where(possible, nodes, -1),
        tf.where(possible, scores, IMPOSSIBLE),
        tf.where(possible, own, 0.0),
    )


def _without_nested(nodes, probability, tree: TreeTables) -> tf.Tensor:
    """Subtracts from each circle the found circles right below it."""
    start, end = tf.gather(tree.start, nodes), tf.gather(tree.end, nodes)
    size = end - start
    around = (start[:, :, None] <= start[:, None]) & (end[:, :, None] >= end[:, None])
    around = around & (size[:, :, None] > size[:, None]) & (probability > 0)[:, None]
    nearest = tf.argmin(
        tf.where(around, size[:, :, None], tf.int32.max), axis=1, output_type=tf.int32
    )
    inside = tf.one_hot(nearest, nodes.shape[1], axis=1)
    inside = inside * tf.cast(tf.reduce_any(around, axis=1), tf.float32)[:, None]
    nested = tf.linalg.matvec(inside, probability)
    return tf.maximum(probability - nested, 0.0)
