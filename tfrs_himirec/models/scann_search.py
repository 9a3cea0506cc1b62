"""Approximate search inside large circles with TFRS ScaNN layers."""

import uuid

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
from scann.scann_ops.py import scann_ops

from tfrs_himirec.models import circle_search

SPARE = 256
"""Excluded items that a ScaNN search can lose before the exact search takes over."""

_SAMPLE = 1024


class ScannCircleIndex(circle_search.ExactCircleIndex):
    """`ExactCircleIndex` with a ScaNN layer for every circle above a size.

    ScaNN sees only the best items of a circle, so the normaliser of the joint merge
    is the sum over those plus an even sample of the rest.

    Args:
      vectors: float32 `[items, dim]` in tree order.
      start: int32 `[nodes]`, first place of each circle.
      end: int32 `[nodes]`, one past its last place.
      results: candidates per circle at most.
      threshold: circles with more items than this get a ScaNN layer.
    """

    def __init__(self, vectors, start, end, results: int, threshold: int):
        super().__init__(vectors, start, end)
        self.fetched = results + SPARE
        size = np.asarray(end) - np.asarray(start)
        large = np.flatnonzero(size > max(threshold, self.fetched))
        self.large = [int(node) for node in large]
        self.layers = [
            _layer(vectors[start[node] : end[node]], self.fetched, f"circle_{node}")
            for node in self.large
        ]
        slots = np.zeros(len(start), np.int32)
        slots[large] = np.arange(1, len(large) + 1)
        self.slots = tf.constant(slots)

    def is_exact(self) -> bool:
        return not self.layers

    def search_circle(
        self, queries, node, excluded, results: int, nested=None, seen=None
    ):
        if nested is None:
            nested = tf.zeros([tf.shape(queries)[0], 1, 2], tf.int32)

        def exact():
            return circle_search.ExactCircleIndex.search_circle(
                self, queries, node, excluded, results, nested, seen
            )

        first, last = self.range_of(node)
        lost = _count(excluded, first, last)
        if seen is not None:
            lost += _count(seen.places, first, last)
        lost += tf.reduce_sum(nested[..., 1] - nested[..., 0], axis=1)
        lost = tf.reduce_max(lost)
        slot = tf.where(lost > SPARE, 0, self.slots[tf.maximum(node, 0)])
        branches = [exact] + [
            lambda layer=layer: self._approximate(
                layer, queries, first, last, excluded, results, nested, seen
            )
            for layer in self.layers
        ]
        return tf.switch_case(slot, branches) if self.layers else exact()

    def _approximate(
        self, layer, queries, first, last, excluded, results, nested, seen
    ):
        scores, index = layer(queries)
        # A single query comes back as narrow as what was found.
        missing = [[0, 0], [0, tf.maximum(results - tf.shape(scores)[1], 0)]]
        scores = tf.pad(scores, missing, constant_values=float("nan"))
        index = tf.pad(index, missing)
        place = index + first
        if seen is not None:
            known = tf.reduce_any(place[..., None] == seen.places[:, None], axis=-1)
            scores = scores + seen.repeat * tf.cast(known, tf.float32)
        normalizer = self._normalizer(queries, scores, first, last)
        denied = tf.reduce_any(place[..., None] == excluded[:, None], axis=-1)
        denied = denied | circle_search.contains(nested, place)
        denied = denied | tf.math.is_nan(scores)  # ScaNN pads with NaN
        scores = tf.where(denied, float("-inf"), scores)
        best, chosen = tf.math.top_k(scores, results)
        place = tf.gather(place, chosen, batch_dims=1)
        return tf.where(best > float("-inf"), place, -1), best, normalizer

    def _normalizer(self, queries, scores, first, last):
        size = tf.cast(last - first, tf.float32)
        index = tf.range(_SAMPLE, dtype=tf.float32) * (size / _SAMPLE)
        sample = tf.gather(self.vectors, first + tf.cast(index, tf.int32))
        others = tf.matmul(queries, sample, transpose_b=True)
        found = tf.where(tf.math.is_nan(scores), float("-inf"), scores)
        weakest = tf.reduce_min(tf.where(tf.math.is_nan(scores), 1e30, scores), 1)
        rest = tf.where(others < weakest[:, None], others, float("-inf"))
        rest = tf.reduce_logsumexp(rest, axis=1) + tf.math.log(size / _SAMPLE)
        both = tf.stack([tf.reduce_logsumexp(found, axis=1), rest], axis=1)
        return tf.reduce_logsumexp(both, axis=1)


def _count(places: tf.Tensor, first, last) -> tf.Tensor:
    """int32 `[users]`: how many of the places `[users, n]` are in a range."""
    inside = (places >= first) & (places < last)
    return tf.reduce_sum(tf.cast(inside, tf.int32), axis=1)


def _layer(vectors: np.ndarray, fetched: int, name: str):
    """A ScaNN layer for recall: sqrt(n) partitions, a quarter of them searched."""
    partitions = max(int(len(vectors) ** 0.5), 1)
    layer = tfrs.layers.factorized_top_k.ScaNN(
        k=min(fetched, len(vectors)),
        num_leaves=partitions,
        num_leaves_to_search=max(partitions // 4, min(partitions, 30)),
        num_reordering_candidates=min(4 * fetched, len(vectors)),
        name=name,
    )
    layer.index(tf.constant(vectors))
    _give_own_handle(layer._serialized_searcher, f"{name}/{uuid.uuid4()}")
    return layer


def _give_own_handle(state, shared_name: str) -> None:
    """Names the searcher's resource.

    ScaNN leaves it unnamed, so that in a reloaded SavedModel the searchers of all
    circles would be one resource: the first one that was made.
    """
    state.recreate_handle = tf.function(
        lambda: scann_ops.tensors_to_scann(
            state.dataset,
            state.scann_config,
            state.serialized_partitioner,
            state.datapoint_to_token,
            state.ah_codebook,
            state.hashed_dataset,
            state.int8_dataset,
            state.int8_multipliers,
            state.dp_norms,
            shared_name=shared_name,
        ),
        input_signature=[],
    )


def recall_per_circle(
    index: ScannCircleIndex, queries: np.ndarray, results: int
) -> dict[int, float]:
    """Compares ScaNN with exact search, circle by circle.

    Args:
      index: the index.
      queries: float32 `[queries, dim]`, user vectors.
      results: list length M.

    Returns:
      Recall@M against exact search of each circle that has a ScaNN layer.
    """
    exact = circle_search.ExactCircleIndex(index.vectors, index.start, index.end)
    nobody = tf.fill([len(queries), 1], -1)
    recall = {}
    for node in index.large:
        arguments = (tf.constant(queries), tf.constant(node), nobody, results)
        wanted = exact.search_circle(*arguments)[0].numpy()
        found = index.search_circle(*arguments)[0].numpy()
        pairs = zip(wanted, found, strict=True)
        recall[node] = float(np.mean([np.isin(w, f).mean() for w, f in pairs]))
    return recall
