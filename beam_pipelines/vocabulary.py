"""Which items and users stay, and which split a user is in."""

import pathlib

import apache_beam as beam
import numpy as np
import pandas as pd

from beam_pipelines import events, shards
from tfrs_himirec import config, errors


def kept_items(
    clean: pathlib.Path, listed: pathlib.Path, settings: config.Prepare
) -> np.ndarray:
    """Returns the ids with enough events in ascending order; place = vocabulary row.

    Args:
      clean: directory of clean shards.
      listed: the item file, all of whose ids have enough events when 0 are asked for.
      settings: `min_item_events`.

    Raises:
      HimirecError: there is none.
    """
    counts = pd.Series(dtype=np.int64)
    for shard in shards.read_counts(clean):
        counts = shard if counts.empty else counts.add(shard, fill_value=0)
    if settings.min_item_events == 0:
        every = pd.read_parquet(listed, columns=["item_id"])["item_id"]
        counts = pd.Series(0, index=every)
    kept = counts[counts >= settings.min_item_events].sort_index()
    if kept.empty:
        most = 0 if counts.empty else int(counts.max())
        raise errors.HimirecError(
            f"no item has prepare.min_item_events = {settings.min_item_events} events "
            f"(the most frequent of {len(counts)} has {most}); "
            "lower it or import a longer log"
        )
    return kept.index.to_numpy()


class CountUsers(beam.DoFn):
    """Records the users of a clean shard with their events of kept items."""

    def __init__(self, items: str, directory: str):
        self._items_path = items
        self._directory = pathlib.Path(directory)

    def setup(self):
        self._items = pd.Index(pd.read_parquet(self._items_path)["item_id"])

    def process(self, element):
        number, path = element
        frame = pd.read_parquet(path, columns=["user_id", "item_id"])
        frame = frame[frame["item_id"].isin(self._items)]
        path = self._directory / f"users-{number:05d}.counts"
        shards.save_counts(path, frame["user_id"])


def split_users(directory: pathlib.Path, settings: config.Prepare) -> pd.DataFrame:
    """Returns `user_id`, `events` and `split` of the users with enough events.

    Users are ranked by a seeded hash of their id, so shares are exact and neither the
    number of buckets nor the order of the log matters.

    Raises:
      HimirecError: there is none.
    """
    enough = [
        shard[shard >= settings.min_user_events]
        for shard in shards.read_counts(directory)
    ]
    users = pd.concat(enough).rename_axis("user_id").reset_index(name="events")
    if users.empty:
        raise errors.HimirecError(
            f"no user has prepare.min_user_events = {settings.min_user_events} events "
            "of kept items; lower it or import a longer log"
        )
    users = users.sort_values("user_id", ignore_index=True)
    order = np.argsort(
        events.stable_hash(users["user_id"].to_numpy(), f"split-{settings.seed}"),
        kind="stable",
    )
    test = round(settings.test_fraction * len(users))
    validation = round(settings.validation_fraction * (len(users) - test))
    split = np.full(len(users), "train", object)
    split[order[:test]] = "test"
    split[order[test : test + validation]] = "validation"
    return users.assign(split=split)
