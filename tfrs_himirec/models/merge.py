"""Merging the candidates of a user's circles into one list."""

from typing import NamedTuple

import tensorflow as tf

_NONE = float("-inf")


class Merged(NamedTuple):
    """One list per user, best first.

    `places`: int32 `[batch, results]`, -1 = none. `scores`: float32 `[batch,
    results]`. `interest`: int32 `[batch, results]`, the beam that filled the place.
    """

    places: tf.Tensor
    scores: tf.Tensor
    interest: tf.Tensor


def quotas(probability: tf.Tensor, capacity: tf.Tensor, total: int, alpha: float):
    """Divides `total` results among interests by `probability^alpha`.

    Largest remainder, capped by what a circle can give; what a full circle cannot
    take spills over to the others. The quotas sum to `min(total, sum(capacity))`.

    Args:
      probability: float32 `[batch, beams]`, >= 0.
      capacity: int32 `[batch, beams]`.
      total: results to give out.
      alpha: 0 for equal shares, 1 for proportional ones.

    Returns:
      int32 `[batch, beams]`.
    """
    beams = probability.shape[1]
    limit = tf.cast(capacity, tf.float32)
    # A floor on the weights lets circles of no probability take what spills over.
    weight = tf.maximum(probability, 1e-9) ** alpha
    full = capacity <= 0
    for _ in range(beams):
        share = _shares(weight, limit, full, total)
        full = full | (share >= limit)
    share = _shares(weight, limit, full, total)
    whole = tf.where(full, limit, tf.floor(share))
    rest = total - tf.reduce_sum(whole, axis=1, keepdims=True)
    remainder = tf.where(full, -1.0, share - tf.floor(share))
    rank = tf.argsort(tf.argsort(-remainder, axis=1, stable=True), axis=1)
    extra = ~full & (tf.cast(rank, tf.float32) < rest)
    return tf.cast(whole, tf.int32) + tf.cast(extra, tf.int32)


def _shares(weight, limit, full, total):
    """Real-valued shares of the circles that are not full."""
    taken = tf.reduce_sum(tf.where(full, limit, 0.0), axis=1, keepdims=True)
    free = tf.where(full, 0.0, weight)
    free = tf.math.divide_no_nan(free, tf.reduce_sum(free, axis=1, keepdims=True))
    return free * tf.maximum(total - taken, 0.0)


def by_quota(found, probability, results: int, alpha: float) -> Merged:
    """The paper's merge: beam probabilities set how many results each interest gets.

    The lists are interleaved in proportion to their quotas, so that every prefix of
    the result is close to the quota merge of that length.

    Args:
      found: `circle_search.Candidates`.
      probability: float32 `[batch, beams]`.
      results: length of the list.
      alpha: exponent of the probabilities.
    """
    exists = found.places >= 0
    capacity = tf.reduce_sum(tf.cast(exists, tf.int32), axis=-1)
    quota = quotas(probability, capacity, results, alpha)
    rank = tf.cumsum(tf.cast(exists, tf.int32), axis=-1, exclusive=True)
    kept = exists & (rank < quota[..., None])
    position = (tf.cast(rank, tf.float32) + 0.5) / tf.cast(quota, tf.float32)[..., None]
    key = tf.where(kept, -position, _NONE)
    return _best(key, found, results)


def by_probability(found, log_probability, results: int) -> Merged:
    """The joint merge: ranks by `P(circle | user) * P(item | circle, user)`.

    Args:
      found: `circle_search.Candidates`.
      log_probability: float32 `[batch, beams]`.
      results: length of the list.

    Returns:
      `Merged`; scores are log-probabilities.
    """
    joint = log_probability[..., None] + found.scores - found.log_normalizer[..., None]
    joint = tf.where(found.places >= 0, joint, _NONE)
    return _best(joint, found._replace(scores=joint), results)


def _best(key, found, results) -> Merged:
    batch, beams, width = tf.shape(key)[0], key.shape[1], tf.shape(key)[2]
    flat = tf.reshape(key, [batch, beams * width])
    flat = tf.pad(flat, [[0, 0], [0, results]], constant_values=_NONE)
    best, index = tf.math.top_k(flat, results)
    exists = best > _NONE
    index = tf.minimum(index, beams * width - 1)
    places = tf.gather(tf.reshape(found.places, [batch, -1]), index, batch_dims=1)
    scores = tf.gather(tf.reshape(found.scores, [batch, -1]), index, batch_dims=1)
    return Merged(
        tf.where(exists, places, -1),
        tf.where(exists, scores, _NONE),
        tf.where(exists, index // width, -1),
    )
