"""Recall on validation users, which picks epochs and settings; never test users."""

import numpy as np
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.evaluation import metrics, users
from tfrs_himirec.models import generator, recommender, towers
from tfrs_himirec.training import artefacts, windows

_AT = 20


class Validation:
    """Recall@20 of models in training, seen items excluded.

    Args:
      run: settings.
      prepared: the run directory.
      most: validation users that are used.
    """

    def __init__(self, run: config.Run, prepared: artefacts.Prepared, most: int = 2000):
        self._run = run
        self._prepared = prepared
        self._users = users.load(prepared.run_dir, "validation", most)
        self._lengths = windows.Lengths.of(run, cuts=0)

    def of_generator(self, model: generator.Generator) -> dict[str, float]:
        """Measures the shared user vector against the whole library."""
        items = model.encoder.item_embedding.embeddings.numpy()
        flat = _Shared(model, items, self._lengths)
        lists = users.baseline_lists(
            flat, self._users, _AT, True, self._run.evaluate.batch_size
        )
        return {"validation_recall": self._recall(lists)}

    def of_recommender(
        self, stage1: generator.Generator, stage2: towers.Towers
    ) -> dict[str, float]:
        """Measures the whole recommender with the configured beams and merge."""
        prepared = self._prepared
        model = recommender.Recommender(
            self._run, prepared.tree, prepared.catalog, stage1, stage2
        )
        lists = users.HimirecLists(model, _AT, self._run.evaluate.batch_size)
        return {"validation_recall": self._recall(lists(self._users, True))}

    def _recall(self, lists: np.ndarray) -> float:
        values = metrics.per_user(lists, self._users.targets, (_AT,))
        return float(values[f"recall@{_AT}"].mean())


class _Shared:
    """The encoder's last state as a single-vector model over the whole library."""

    def __init__(self, model, items, lengths):
        self._items = items
        self._encode = tf.function(
            lambda rows: _last(model, windows.inference_window(rows, lengths)),
            input_signature=[tf.TensorSpec([None, None], tf.int32)],
        )

    def score(self, histories):
        states = self._encode(tf.constant(users.padded(histories)))
        return states.numpy() @ self._items.T


def _last(model, window):
    return tf.gather(model.encoder(window), generator.last_state(window), batch_dims=1)
