"""The single-vector causal Transformer over the whole library."""

import numpy as np
import tensorflow as tf

from tfrs_himirec.evaluation import users
from tfrs_himirec.models import single_vector
from tfrs_himirec.training import windows


class Transformer:
    """Scores of `single_vector.SingleVector`, a SASRec-class model.

    Args:
      model: scores follow its weights, also while it is trained.
      lengths: of the windows it reads.
    """

    def __init__(self, model: single_vector.SingleVector, lengths: windows.Lengths):
        self.model = model
        self._vectors = tf.function(
            lambda rows: _user_vectors(model, windows.inference_window(rows, lengths)),
            input_signature=[tf.TensorSpec([None, None], tf.int32)],
        )

    def score(self, histories: list[np.ndarray]) -> np.ndarray:
        """Returns float32 `[users, items]`."""
        vectors = self._vectors(tf.constant(users.padded(histories)))
        scores = tf.matmul(vectors, self.model.item_vectors, transpose_b=True).numpy()
        for row, history in zip(scores, histories, strict=True):
            row[np.unique(history)] += float(self.model.encoder.repeat)
        return scores


def _user_vectors(model, window):
    last = single_vector.last_state(window)
    return tf.gather(model.encoder(window), last, batch_dims=1)
