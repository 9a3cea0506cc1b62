"""Softmax losses over items: the whole library, or one circle of it."""

import tensorflow as tf

MASKED = -1e9


def next_items_loss(
    states: tf.Tensor,
    items: tf.Tensor,
    future: tf.Tensor,
    decay: float,
    seen: tf.Tensor,
    repeat: tf.Tensor,
    negatives: int = 0,
) -> tf.Tensor:
    """Cross-entropy of the next N items under one softmax over the library.

    `L = mean_t [log Z_t - sum_j w_j r_tj]` with the scores `r_tj = s_t . v_j`, plus
    `repeat` where the user has consumed j before; `w_j` proportional to `decay^j`
    over the items that exist, summing to 1 at every cut point.

    Args:
      states: float32 `[batch, time, dim]`.
      items: float32 `[items, dim]`.
      future: int32 `[batch, time, next_items]`; -1 = none.
      decay: weight of an item relative to the one before it.
      seen: int32 `[batch, items]`, time of the first state that has seen an item.
      repeat: float32 scalar.
      negatives: 0 for the full softmax, otherwise the number of uniform negatives of
        a sampled softmax with logQ correction (Bengio and Senecal, 2003).

    Returns:
      float32 scalar; 0 when no cut point has a future.
    """
    cut = tf.where(future[..., 0] >= 0)  # padding is not worth a matmul
    states, future = tf.gather_nd(states, cut), tf.gather_nd(future, cut)
    exists = tf.cast(future >= 0, tf.float32)
    weight = exists * decay ** tf.range(tf.shape(future)[-1], dtype=tf.float32)
    weight = tf.math.divide_no_nan(weight, tf.reduce_sum(weight, -1, keepdims=True))
    seen = tf.gather(seen, cut[:, 0]) <= tf.cast(cut[:, 1:], tf.int32)
    shift = repeat * tf.cast(seen, tf.float32)
    if negatives:
        loss = _sampled(states, items, future, weight, shift, negatives)
    else:
        logits = tf.matmul(states, items, transpose_b=True) + shift
        positive = tf.gather(logits, tf.maximum(future, 0), batch_dims=1)
        loss = tf.reduce_logsumexp(logits, -1) - tf.reduce_sum(weight * positive, -1)
    count = tf.cast(tf.shape(cut)[0], tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(loss), count)


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
    logits = logits + tf.gather(shift, sample, axis=1)
    correction = tf.math.log(tf.cast(library, tf.float32) / negatives)
    rest = tf.reduce_logsumexp(logits, -1) + correction
    wanted = tf.maximum(future, 0)
    positive = tf.einsum("cd,cnd->cn", states, tf.gather(items, wanted))
    positive = positive + tf.gather(shift, wanted, batch_dims=1)
    normalizer = tf.math.softplus(rest[..., None] - positive) + positive
    return tf.reduce_sum(weight * (normalizer - positive), -1)
