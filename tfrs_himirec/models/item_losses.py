"""Softmax losses over items: the whole library, or one circle of it."""

from collections.abc import Callable

import tensorflow as tf

MASKED = -1e9


def next_items_loss(
    states: tf.Tensor,
    items: tf.Tensor,
    future: tf.Tensor,
    decay: float,
    shift: Callable,
    negatives: int = 0,
) -> tf.Tensor:
    """Cross-entropy of the next N items under one softmax over the library.

    `L = mean_t [log Z_t - sum_j w_j r_tj]` with the scores `r_tj = s_t . v_j +
    shift_tj`; `w_j` proportional to `decay^j` over the items that exist, summing to 1
    at every cut point.

    Args:
      states: float32 `[batch, time, dim]`.
      items: float32 `[items, dim]`.
      future: int32 `[batch, time, next_items]`; -1 = none.
      decay: weight of an item relative to the one before it.
      shift: maps cut points int64 `[cuts, 2]`, their places in batch and time, and
        rows int32 `[cuts, n]` or None for the whole library, to what is added to
        those scores, float32 `[cuts, n]`.
      negatives: 0 for the full softmax, otherwise the number of uniform negatives of
        a sampled softmax with logQ correction (Bengio and Senecal, 2003); they are
        not shifted.

    Returns:
      float32 scalar; 0 when no cut point has a future.
    """
    cut = tf.where(tf.reduce_any(future >= 0, -1))  # padding is not worth a matmul
    states, future = tf.gather_nd(states, cut), tf.gather_nd(future, cut)
    exists = tf.cast(future >= 0, tf.float32)
    weight = exists * decay ** tf.range(tf.shape(future)[-1], dtype=tf.float32)
    weight = tf.math.divide_no_nan(weight, tf.reduce_sum(weight, -1, keepdims=True))
    if negatives:
        moved = shift(cut, tf.maximum(future, 0))
        loss = _sampled(states, items, future, weight, moved, negatives)
    else:
        logits = tf.matmul(states, items, transpose_b=True) + shift(cut, None)
        positive = tf.gather(logits, tf.maximum(future, 0), batch_dims=1)
        loss = tf.reduce_logsumexp(logits, -1) - tf.reduce_sum(weight * positive, -1)
    count = tf.cast(tf.shape(cut)[0], tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(loss), count)


def is_seen(rows, before: int, cut, wanted, items: int) -> tf.Tensor:
    """Tells what users have consumed up to a cut point.

    Args:
      rows: int32 `[batch, before + time]`; -1 = none.
      before: places of a window before its first slot.
      cut: int64 `[cuts, 2]`, place in the batch, and slot.
      wanted: int32 `[cuts, n]`, rows to look up; None for the whole library.
      items: size of the library.

    Returns:
      bool `[cuts, n]`.
    """
    user, last = cut[:, 0], tf.cast(cut[:, 1:], tf.int32) + before
    if wanted is None:
        return tf.gather(first_seen(rows, items), user) <= last
    past = tf.where(tf.range(tf.shape(rows)[1]) <= last, tf.gather(rows, user), -1)
    return tf.reduce_any(wanted[..., None] == past[:, None], axis=-1)


def first_seen(rows: tf.Tensor, items: int) -> tf.Tensor:
    """Returns when each item of the library is first seen.

    Args:
      rows: int32 `[batch, time]`; -1 = none.
      items: size of the library.

    Returns:
      int32 `[batch, items]`, the place in `rows`; a large number for never.
    """
    batch, time = tf.unstack(tf.shape(rows))
    user = tf.repeat(tf.range(batch)[:, None], time, axis=1)
    index = tf.stack([user, tf.where(rows < 0, items, rows)], axis=-1)
    place = tf.repeat(tf.range(time)[None], batch, axis=0)
    never = tf.fill([batch, items + 1], tf.int32.max)
    return tf.tensor_scatter_nd_min(never, index, place)[:, :items]


def _sampled(states, items, future, weight, shift, negatives):
    library = tf.shape(items)[0]
    sample = tf.random.uniform([negatives], 0, library, tf.int32)
    logits = tf.matmul(states, tf.gather(items, sample), transpose_b=True)
    correction = tf.math.log(tf.cast(library, tf.float32) / negatives)
    rest = tf.reduce_logsumexp(logits, -1) + correction
    vectors = tf.gather(items, tf.maximum(future, 0))
    positive = tf.einsum("cd,cnd->cn", states, vectors) + shift
    normalizer = tf.math.softplus(rest[..., None] - positive) + positive
    return tf.reduce_sum(weight * (normalizer - positive), -1)
