"""Beam search constrained to the circle tree, as graph operations."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_himirec.tree import circle_tree

IMPOSSIBLE = -1e30
"""Log-probability of a beam that holds no circle."""


class TreeTables(NamedTuple):
    """What the graph knows of the tree.

    `children`: int32 `[nodes, k + 1]`; -1 = none; the last column is stop, which
    stays in the node. `allowed`: bool `[nodes, k + 1]`. `leaf`: bool `[nodes]`.
    """

    children: tf.Tensor
    allowed: tf.Tensor
    leaf: tf.Tensor


class Interests(NamedTuple):
    """Circles of each user, most probable first.

    `nodes`: int32 `[batch, beams]`, -1 = none. `log_probability`: float32
    `[batch, beams]`, `IMPOSSIBLE` where there is none.
    """

    nodes: tf.Tensor
    log_probability: tf.Tensor


def tables(tree: circle_tree.CircleTree, inner_stop: bool) -> TreeTables:
    """Builds the constants; `inner_stop` permits stopping above the leaves."""
    nodes = np.arange(tree.nodes, dtype=np.int32)
    stop = tree.is_leaf | (inner_stop & (nodes != circle_tree.ROOT))
    children = np.concatenate([tree.children, np.where(stop, nodes, -1)[:, None]], 1)
    return TreeTables(
        tf.constant(children, tf.int32),
        tf.constant(children >= 0),
        tf.constant(tree.is_leaf),
    )


def beam_search(
    step: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    tree: TreeTables,
    depth: int,
    batch: tf.Tensor,
    beams: int,
) -> Interests:
    """Finds the most probable complete paths.

    Args:
      step: maps chosen numbers int32 `[batch, beams, s]` and visited circles int32
        `[batch, beams, s + 1]` to log-probabilities float32 `[batch, beams, k + 1]`
        of the choices in the last circle.
      tree: constants of the tree.
      depth: levels of the tree; the steps are unrolled.
      batch: int32 scalar.
      beams: paths kept at every step.

    Returns:
      The circles where the paths stopped, most probable first.
    """
    choices = tree.children.shape[1]
    numbers = tf.zeros([batch, beams, 0], tf.int32)
    visited = tf.fill([batch, beams, 1], circle_tree.ROOT)
    first = tf.one_hot(0, beams, on_value=0.0, off_value=IMPOSSIBLE)
    scores = tf.repeat(first[None], batch, axis=0)
    frozen = tf.one_hot(choices - 1, choices, on_value=0.0, off_value=IMPOSSIBLE)
    done = tf.zeros([batch, beams], tf.bool)
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
    possible = scores > IMPOSSIBLE / 2
    return Interests(
        tf.where(possible, visited[..., -1], -1),
        tf.where(possible, scores, IMPOSSIBLE),
    )
