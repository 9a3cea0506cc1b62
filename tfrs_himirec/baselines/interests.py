"""Extractors of several interest vectors from a user's recent events."""

import keras
import tensorflow as tf

_MASKED = -1e9


@keras.saving.register_keras_serializable("tfrs_himirec")
class SelfAttentiveInterests(keras.layers.Layer):
    """Self-attentive interests, ComiRec-SA (Cen et al., 2020, section 3.2).

    `V = softmax(W2 tanh(W1 (E + P)))' E` with learned positions P.

    Args:
      interests: number of vectors K.
      places: events of an input.
    """

    def __init__(self, interests: int, places: int, **kwargs):
        super().__init__(**kwargs)
        self.interests = interests
        self.places = places

    def build(self, shape):
        dim = shape[-1]
        self.position = self.add_weight(
            shape=(self.places, dim),
            initializer=keras.initializers.RandomNormal(stddev=0.05),
            name="position",
        )
        self.hidden = keras.layers.Dense(4 * dim, "tanh", use_bias=False)
        self.hidden.build(shape)
        self.attention = keras.layers.Dense(self.interests, use_bias=False)
        self.attention.build((*shape[:-1], 4 * dim))

    def call(self, items, known):
        """Returns interests.

        Args:
          items: float32 `[examples, places, dim]`, oldest first, padded on the left.
          known: bool `[examples, places]`, false for padding.

        Returns:
          float32 `[examples, interests, dim]`.
        """
        logits = self.attention(self.hidden(items + self.position))
        logits = tf.where(known[..., None], logits, _MASKED)
        return tf.einsum("elk,eld->ekd", tf.nn.softmax(logits, axis=1), items)

    def get_config(self):
        names = ("interests", "places")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("tfrs_himirec")
class RoutedInterests(keras.layers.Layer):
    """Capsules filled by dynamic routing.

    `shared=True` is the behaviour-to-interest routing of MIND (Li et al., 2019, section
    4.2): one bilinear map, routing logits that start random, at most `log2` of the
    number of events as interests, and two dense layers on top. `shared=False` is
    ComiRec-DR (Cen et al., 2020, section 3.2): a map for each place and interest,
    routing logits that start at zero.

    Args:
      interests: number of vectors K.
      places: events of an input.
      shared: see above.
      iterations: of the routing.
    """

    def __init__(
        self,
        interests: int,
        places: int,
        shared: bool,
        iterations: int = 3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.interests = interests
        self.places = places
        self.shared = shared
        self.iterations = iterations

    def build(self, shape):
        dim = shape[-1]
        maps = (1, 1) if self.shared else (self.places, self.interests)
        self.maps = self.add_weight(
            shape=(*maps, dim, dim),
            initializer=keras.initializers.RandomNormal(stddev=dim**-0.5),
            name="maps",
        )
        if not self.shared:
            return
        self.start = self.add_weight(
            shape=(self.places, self.interests),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            trainable=False,
            name="start",
        )
        self.hidden = keras.layers.Dense(4 * dim, "relu")
        self.hidden.build(shape)
        self.output_map = keras.layers.Dense(dim)
        self.output_map.build((*shape[:-1], 4 * dim))

    def call(self, items, known):
        """Returns interests; arguments as in `SelfAttentiveInterests`."""
        mapped = self._mapped(items)
        weight = tf.cast(known, tf.float32)[..., None]
        logits = tf.zeros(tf.shape(mapped)[:3])
        if self.shared:
            logits = logits + tf.convert_to_tensor(self.start)
        for iteration in range(self.iterations):
            last = iteration == self.iterations - 1
            votes = mapped if last else tf.stop_gradient(mapped)
            share = tf.nn.softmax(logits, axis=2) * weight
            capsules = squash(tf.einsum("elk,elkd->ekd", share, votes))
            logits = logits + tf.einsum("ekd,elkd->elk", capsules, votes)
        return self._topped(capsules, known) if self.shared else capsules

    def _mapped(self, items):
        """float32 `[examples, places, interests, dim]`."""
        maps = tf.convert_to_tensor(self.maps)
        if self.shared:
            mapped = tf.einsum("eld,dc->elc", items, maps[0, 0])
            return tf.repeat(mapped[:, :, None], self.interests, axis=2)
        return tf.einsum("eld,lkdc->elkc", items, maps)

    def _topped(self, capsules, known):
        """Dense layers; interests that a short history does not have are the first."""
        vectors = capsules + self.output_map(self.hidden(capsules))
        count = tf.reduce_sum(tf.cast(known, tf.float32), axis=1, keepdims=True)
        most = tf.maximum(
            tf.floor(tf.math.log(tf.maximum(count, 1)) / tf.math.log(2.0)), 1
        )
        absent = tf.range(self.interests, dtype=tf.float32)[None] >= most
        return tf.where(absent[..., None], vectors[:, :1], vectors)

    def get_config(self):
        names = ("interests", "places", "shared", "iterations")
        return super().get_config() | {name: getattr(self, name) for name in names}


def squash(capsules: tf.Tensor) -> tf.Tensor:
    """Shrinks lengths into `[0, 1)`: `|s|^2 / (1 + |s|^2) s / |s|` (Sabour, 2017)."""
    square = tf.reduce_sum(capsules**2, axis=-1, keepdims=True)
    return capsules * square / (1 + square) * tf.math.rsqrt(square + 1e-9)
