"""Softmax losses over items: the whole library, or one circle of it."""

import tensorflow as tf

MASKED = -1e9


def next_items_loss(
    states: tf.Tensor,
    items: tf.Tensor,
    future: tf.Tensor,
    decay: float,
    negatives: int = 0,
) -> tf.Tensor:
    """Cross-entropy of the next N items under one softmax over the library.

    `L = mean_t [log Z_t - sum_j w_j s_t . v_j]`, `w_j` proportional to `decay^j` over
    the items that exist, summing to 1 at every cut point.

    Args:
      states: float32 `[batch, time, dim]`.
      items: float32 `[items, dim]`.
      future: int32 `[batch, time, next_items]`; -1 = none.
      decay: weight of an item relative to the one before it.
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
    if negatives:
        loss = _sampled(states, items, future, weight, negatives)
    else:
        logits = tf.matmul(states, items, transpose_b=True)
        positive = tf.gather(logits, tf.maximum(future, 0), batch_dims=1)
        loss = tf.reduce_logsumexp(logits, -1) - tf.reduce_sum(weight * positive, -1)
    count = tf.cast(tf.shape(cut)[0], tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(loss), count)


def _sampled(states, items, future, weight, negatives):
    library = tf.shape(items)[0]
    sample = tf.random.uniform([negatives], 0, library, tf.int32)
    logits = tf.matmul(states, tf.gather(items, sample), transpose_b=True)
    correction = tf.math.log(tf.cast(library, tf.float32) / negatives)
    rest = tf.reduce_logsumexp(logits, -1) + correction
    vectors = tf.gather(items, tf.maximum(future, 0))
    positive = tf.einsum("cd,cnd->cn", states, vectors)
    normalizer = tf.math.softplus(rest[..., None] - positive) + positive
    return tf.reduce_sum(weight * (normalizer - positive), -1)
