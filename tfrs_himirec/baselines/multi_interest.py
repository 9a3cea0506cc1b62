"""MIND and ComiRec: several user vectors, each searched in the whole library."""

from typing import Literal

import keras
import numpy as np
import pydantic
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.baselines import interests
from tfrs_himirec.models import window_model


class Settings(config.Settings):
    """Sizes and training options; `places` are the newest events that are read.

    `negatives`: 0 for the softmax over the whole library.
    """

    kind: Literal["mind", "comirec_sa", "comirec_dr"]
    dim: int = pydantic.Field(64, ge=2)
    interests: int = pydantic.Field(4, ge=1)
    places: int = pydantic.Field(50, ge=1)
    dropout: float = pydantic.Field(0.2, ge=0, lt=1)
    negatives: int = pydantic.Field(0, ge=0)
    distance_decay: float = pydantic.Field(0.9, gt=0, le=1)
    cuts: int = pydantic.Field(32, ge=1)
    epochs: int = pydantic.Field(15, ge=1)
    patience: int = pydantic.Field(3, ge=1)
    batch_size: int = pydantic.Field(32, ge=1)
    learning_rate: float = pydantic.Field(2e-3, gt=0)
    seed: int = 7


class MultiInterest(window_model.WindowModel):
    """Interest vectors trained by the hard choice of the interest next to the target.

    `L = sum_j w_j [log Z_k(j) - v_k(j) . e_j]` with `k(j) = argmax_k v_k . e_j` over
    the next N items: ComiRec's training (Cen et al., 2020, eq. 7) and MIND's
    label-aware attention with an infinite exponent. A user's score of an item is the
    largest over the interests, as when the lists of K searches are merged by score.

    Args:
      settings: sizes and training options.
      items: size of the vocabulary.
      long_term: places of a window before its first slot.
    """

    def __init__(self, settings: Settings, items: int, long_term: int):
        super().__init__(settings.kind)
        self.settings = settings
        self._long_term = long_term
        init = keras.initializers.RandomNormal(stddev=settings.dim**-0.5)
        self.item_embedding = keras.layers.Embedding(items, settings.dim, init)
        self.item_embedding.build(None)
        self.drop = keras.layers.Dropout(settings.dropout)
        self.extractor = _extractor(settings)
        self.extractor.build((None, settings.places, settings.dim))
        self.temperature = self.add_weight(shape=(), initializer="ones", name="scale")
        self.built = True
        self._infer = tf.function(
            self.call, input_signature=[tf.TensorSpec([None, None], tf.int32)]
        )

    def call(self, rows, training=False):
        """Returns interests float32 `[examples, interests, dim]`.

        Args:
          rows: int32 `[examples, places]`, oldest first, -1 pads on the left.
          training: whether dropout is on.
        """
        known = rows >= 0
        items = self.item_embedding(tf.maximum(rows, 0))
        items = items * tf.cast(known, items.dtype)[..., None]
        items = self.drop(items, training=training)
        scale = self.settings.dim**0.5 * tf.convert_to_tensor(self.temperature)
        return scale * self.extractor(items, known)

    def batch_loss(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Returns the mean loss of a batch, see `windows.training_windows`."""
        cuts = batch["cuts"]
        places = self.settings.places
        index = cuts[..., None] + self._long_term + 1 + tf.range(-places, 0)
        rows = tf.gather(batch["rows"], tf.maximum(index, 0), batch_dims=1)
        rows = tf.reshape(tf.where(index >= 0, rows, -1), [-1, places])
        future = tf.gather(batch["future"], cuts, batch_dims=1)
        future = tf.reshape(future, [-1, future.shape[-1]])
        return self._loss(self(rows, training=training), future)

    def _loss(self, vectors, future):
        items = tf.convert_to_tensor(self.item_embedding.embeddings)
        wanted = tf.gather(items, tf.maximum(future, 0))
        scores = tf.einsum("ekd,end->enk", vectors, wanted)
        chosen = tf.argmax(scores, axis=-1, output_type=tf.int32)
        normalizer = tf.gather(self._normalizer(vectors, items), chosen, batch_dims=1)
        weight = tf.cast(future >= 0, tf.float32)
        order = tf.range(tf.shape(future)[1], dtype=tf.float32)
        weight = weight * self.settings.distance_decay**order
        weight = tf.math.divide_no_nan(weight, tf.reduce_sum(weight, -1, keepdims=True))
        loss = weight * (normalizer - tf.reduce_max(scores, axis=-1))
        return tf.reduce_mean(tf.reduce_sum(loss, axis=-1))

    def _normalizer(self, vectors, items):
        """float32 `[examples, interests]`: log of the sum over the library."""
        library = tf.shape(items)[0]
        if not self.settings.negatives:
            return tf.reduce_logsumexp(tf.einsum("ekd,id->eki", vectors, items), -1)
        sample = tf.random.uniform([self.settings.negatives], 0, library, tf.int32)
        logits = tf.einsum("ekd,id->eki", vectors, tf.gather(items, sample))
        share = tf.cast(library, tf.float32) / self.settings.negatives
        return tf.reduce_logsumexp(logits, -1) + tf.math.log(share)

    def score(self, histories: list[np.ndarray]) -> np.ndarray:
        """Returns float32 `[users, items]`, the largest score over the interests."""
        rows = np.full((len(histories), self.settings.places), -1, np.int32)
        for row, history in zip(rows, histories, strict=True):
            newest = history[-self.settings.places :]
            row[len(row) - len(newest) :] = newest
        vectors = self._infer(tf.constant(rows))
        items = tf.convert_to_tensor(self.item_embedding.embeddings)
        best = tf.matmul(vectors[:, 0], items, transpose_b=True)
        for k in range(1, self.settings.interests):
            scores = tf.matmul(vectors[:, k], items, transpose_b=True)
            best = tf.maximum(best, scores)
        return best.numpy()


def _extractor(settings: Settings):
    if settings.kind == "comirec_sa":
        return interests.SelfAttentiveInterests(settings.interests, settings.places)
    shared = settings.kind == "mind"
    return interests.RoutedInterests(settings.interests, settings.places, shared)
