"""Losses of stage 2: positives against the items of the same circle."""

import tensorflow as tf

MASKED = -1e9


def binary_cross_entropy(
    positive: tf.Tensor, negative: tf.Tensor, usable: tf.Tensor
) -> tf.Tensor:
    """Equation 3 of the paper.

    `L = -[log sigma(r+) + E log(1 - sigma(r-))]`, the expectation being the mean over
    the sampled negatives; the mean over positives is returned.

    Args:
      positive: float32 `[examples]`, scores r of the positives.
      negative: float32 `[examples, negatives]`, scores of items of the same circle.
      usable: bool `[examples, negatives]`: false for the positive itself, for items
        the user knows, and for padding.

    Returns:
      float32 scalar.
    """
    weight = tf.cast(usable, tf.float32)
    expectation = tf.math.divide_no_nan(
        tf.reduce_sum(weight * tf.math.softplus(negative), axis=1),
        tf.reduce_sum(weight, axis=1),
    )
    return tf.reduce_mean(tf.math.softplus(-positive) + expectation)


def softmax(
    positive: tf.Tensor,
    candidates: tf.Tensor,
    usable: tf.Tensor,
    log_inclusion: tf.Tensor,
) -> tf.Tensor:
    """Softmax over the circle, from all of its items or from a sample.

    `L = -r+ + log(exp(r+) + sum_i exp(r_i - log q_i))` over the usable candidates: the
    sampled softmax with logQ correction (Bengio and Senecal, 2003), exact when every
    other item of the circle is a candidate with `log q = 0`.

    Args:
      positive: float32 `[examples]`.
      candidates: float32 `[examples, candidates]`.
      usable: bool `[examples, candidates]`: false for the positive and for padding.
      log_inclusion: float32 `[examples]` or scalar, log of the expected number of
        times that an item of the circle is among the candidates.

    Returns:
      float32 scalar, the mean over examples.
    """
    correction = tf.reshape(log_inclusion, [-1, 1])
    logits = tf.where(usable, candidates - correction, MASKED)
    logits = tf.concat([positive[:, None], logits], axis=1)
    return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=1) - positive)
