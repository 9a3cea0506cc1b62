"""Recall on validation users, which picks epochs and settings; never test users."""

import numpy as np

from tfrs_himirec import config
from tfrs_himirec.evaluation import metrics, users
from tfrs_himirec.models import generator, recommender, towers
from tfrs_himirec.training import artefacts

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

    def of_scores(self, model) -> float:
        """Measures anything with `score(histories)` over the whole library."""
        batch_size = self._run.evaluate.batch_size
        lists = users.baseline_lists(model, self._users, _AT, True, batch_size)
        return self._recall(lists)

    def of_recommender(
        self, stage1: generator.Generator, stage2: towers.Towers
    ) -> float:
        """Measures the whole recommender with the configured beams and merge."""
        prepared = self._prepared
        model = recommender.Recommender(
            self._run, prepared.tree, prepared.catalog, stage1, stage2
        )
        lists = users.HimirecLists(model, _AT, self._run.evaluate.batch_size)
        return self._recall(lists(self._users, True))

    def _recall(self, lists: np.ndarray) -> float:
        values = metrics.per_user(lists, self._users.targets, (_AT,))
        return float(values[f"recall@{_AT}"].mean())
