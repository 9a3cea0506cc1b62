"""The users of a split, and every model's lists for them."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tqdm

from tfrs_himirec import files
from tfrs_himirec.models import recommender
from tfrs_himirec.schema import sequences


@dataclasses.dataclass(frozen=True)
class Users:
    """Histories and targets, arrays of vocabulary rows, one per user."""

    histories: list[np.ndarray]
    targets: list[np.ndarray]

    def batches(self, size: int) -> Iterator[list[np.ndarray]]:
        for start in range(0, len(self.histories), size):
            yield self.histories[start : start + size]


def load(run_dir: files.Path, split: str, most: int | None = None) -> Users:
    """Reads the users of a split, the first `most` of them if given."""
    histories, targets = [], []
    for batch in sequences.read(run_dir, split):
        histories += [h.numpy() for h in batch["history"]]
        targets += [t.numpy() for t in batch["targets"]]
        if most and len(histories) >= most:
            break
    return Users(histories[:most], targets[:most])


def baseline_lists(
    model, users: Users, results: int, exclude_seen: bool, batch_size: int
) -> np.ndarray:
    """Returns int64 `[users, results]`, rows, best first, of a model with `score`."""
    lists = []
    for histories in users.batches(batch_size):
        scores = model.score(histories)
        if exclude_seen:
            for row, history in zip(scores, histories, strict=True):
                row[history] = -np.inf
        lists.append(top(scores, results))
    return np.concatenate(lists)


def top(scores: np.ndarray, results: int) -> np.ndarray:
    """Returns the best columns of every row; -1 where the score is -inf."""
    results = min(results, scores.shape[1])
    best = np.argpartition(-scores, results - 1, axis=1)[:, :results]
    values = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    return np.where(np.isneginf(values), -1, best)


def padded(histories: list[np.ndarray]) -> np.ndarray:
    """Returns int32 `[users, time]`, left-aligned, -1 = padding, `time` at least 1.

    `time` is rounded up to a multiple of 64 so that few shapes are met.
    """
    longest = max(max(len(h) for h in histories), 1)
    rows = np.full((len(histories), -(-longest // 64) * 64), -1, np.int32)
    for row, history in zip(rows, histories, strict=True):
        row[: len(history)] = history
    return rows


class HimirecLists:
    """Lists of the recommender; the same code that is exported for serving.

    Args:
      model: the recommender.
      results: items per user.
      batch_size: users in a batch.
      options: `beams` and `merge_by` of `Recommender.recommend`.
    """

    def __init__(
        self, model: recommender.Recommender, results: int, batch_size: int, **options
    ):
        self._batch_size = batch_size
        self._rows = np.append(model.towers.rows, -1)  # place -1 is row -1
        self._places = model.constants.place_of_row.numpy()
        spec = tf.TensorSpec([None, None], tf.int32)
        results = min(results, model.tree.items)
        self._function = tf.function(
            lambda rows, excluded: model.recommend(
                rows, excluded, results=results, **options
            ),
            input_signature=[spec, spec],
        )

    def __call__(self, users: Users, exclude_seen: bool) -> np.ndarray:
        """Returns int64 `[users, results]`, rows, best first."""
        return self.rows_of(self.answer(users, exclude_seen).places)

    def rows_of(self, places: np.ndarray) -> np.ndarray:
        """Returns the vocabulary rows of places; -1 stays -1."""
        return self._rows[places]

    def answer(self, users: Users, exclude_seen: bool) -> recommender.Recommendation:
        """Returns the recommender's answer for all users, as arrays."""
        answers = []
        total = -(-len(users.histories) // self._batch_size)
        batches = users.batches(self._batch_size)
        for histories in tqdm.tqdm(batches, "recommend", total, disable=None):
            rows = padded(histories)
            seen = np.where(rows >= 0, self._places[np.maximum(rows, 0)], -1)
            excluded = seen if exclude_seen else np.full_like(rows[:, :1], -1)
            found = self._function(tf.constant(rows), tf.constant(excluded))
            answers.append([column.numpy() for column in found])
        columns = zip(*answers, strict=True)
        return recommender.Recommendation(*(np.concatenate(c) for c in columns))
