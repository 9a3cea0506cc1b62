"""Item-to-item relations: what the last events say of the next ones, item by item."""

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("tfrs_himirec")
class Relations(tf.keras.layers.Layer):
    """Factorised transitions from events of the history to candidates.

    `score(u, j) = (sum_p w_p a_i(p) + sum_q w'_q a_i(q)) . b_j` over the newest events
    p of the whole history and the events q of the history in the circle, with learned
    weights by age: FISM (Kabbur et al., 2013) with recency. The candidates' part b
    starts at zero, so that an untrained layer changes no score.

    Args:
      items: size of the vocabulary.
      dim: width of a and b.
      recent: newest events of the whole history that are read.
      places: length of a split history.
      dropout: share of activations dropped in training.
    """

    def __init__(
        self, items: int, dim: int, recent: int, places: int, dropout: float, **kwargs
    ):
        super().__init__(**kwargs)
        self.items = items
        self.dim = dim
        self.recent = recent
        self.places = places
        self.dropout = dropout
        normal = tf.keras.initializers.RandomNormal(stddev=0.1)
        self.source = tf.keras.layers.Embedding(items, dim, normal, name="source")
        self.target = tf.keras.layers.Embedding(items, dim, "zeros", name="target")
        self.drop = tf.keras.layers.Dropout(dropout)

    def build(self, input_shape):
        self.recent_weight = self.add_weight(
            "recent_weight", [self.recent], initializer=_fading(0.8)
        )
        self.split_weight = self.add_weight(
            "split_weight", [self.places], initializer=_fading(0.95)
        )
        super().build(input_shape)

    def call(self, recent, split, training=False):
        """Returns the user side float32 `[examples, dim]`.

        Args:
          recent: int32 `[examples, recent]`, rows, newest first, -1 = padding.
          split: int32 `[examples, places]`, rows, newest first, -1 = padding.
          training: whether dropout is on.
        """
        total = self._sum(recent, self.recent_weight)
        total = total + self._sum(split, self.split_weight)
        return self.drop(total, training=training)

    def targets(self, rows):
        """Returns the candidates' side float32 `[n, dim]` of rows int32 `[n]`."""
        return self.target(rows)

    def _sum(self, rows, weight):
        known = tf.cast(rows >= 0, tf.float32) * weight
        return tf.einsum("ep,epd->ed", known, self.source(tf.maximum(rows, 0)))

    def get_config(self):
        names = ("items", "dim", "recent", "places", "dropout")
        return super().get_config() | {name: getattr(self, name) for name in names}


def _fading(decay: float):
    """Weights `decay^age`."""
    return lambda shape, dtype=None: decay ** tf.range(shape[0], dtype=tf.float32)
