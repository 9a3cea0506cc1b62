"""The build job: clean shards -> TFRecords of users and split histories."""

import pathlib

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_himirec.schema import histories, sequences


class BuildShard(beam.DoFn):
    """Writes the Examples and split histories of one clean shard.

    Args:
      work: directory with `lookup.npz`-like side files written by prepare.
      shards: number of clean shards.
      targets: maps a history length to the number of targets.
      id_types: of `user_id` and `item_id`.
    """

    def __init__(self, work: str, shards: int, targets, id_types: dict[str, str]):
        self._work = pathlib.Path(work)
        self._shards = shards
        self._targets = targets
        self._id_types = id_types

    def setup(self):
        self._items = pd.read_pickle(self._work / "items.pkl")
        self._splits = pd.read_pickle(self._work / "splits.pkl")

    def process(self, element):
        import tensorflow as tf

        shard, path = element
        frame = filtered(pd.read_parquet(path), self._items, self._splits)
        writers = {
            split: tf.io.TFRecordWriter(
                str(
                    self._work
                    / "sequences"
                    / sequences.shard_name(split, shard, self._shards)
                )
            )
            for split in sequences.SPLITS
        }
        encode, pasts = sequences.Encoder(), []
        for user, events in frame.groupby("user_id", sort=True):
            split = self._splits[user]
            count = 0 if split == "train" else self._targets(len(events))
            past = events.iloc[: len(events) - count]
            if past.empty:
                continue
            rows, times = events["row"].to_numpy(), events["timestamp"].to_numpy()
            kept = len(past)
            example = encode(user, rows[:kept], times[:kept], rows[kept:])
            writers[split].write(example)
            pasts.append(past)
        for writer in writers.values():
            writer.close()
        self._write_histories(shard, pasts)
        yield len(pasts)

    def _write_histories(self, shard: int, pasts: list[pd.DataFrame]) -> None:
        schema = histories.schema(self._id_types["user_id"], self._id_types["item_id"])
        table = schema.empty_table()
        if pasts:
            grouped = pd.concat(pasts).groupby(["user_id", "circle"], sort=True)
            lists = grouped.agg({"item_id": list, "timestamp": list}).reset_index()
            lists.columns = schema.names
            table = pa.Table.from_pandas(lists, schema, preserve_index=False)
        name = histories.shard_name(shard, self._shards)
        pq.write_table(table, self._work / "histories" / name)


def filtered(frame: pd.DataFrame, items: pd.DataFrame, users: pd.Series):
    """Keeps events of kept items and users; adds `row` and `circle`."""
    frame = frame[frame["user_id"].isin(users.index)]
    index = pd.Index(items["item_id"]).get_indexer(frame["item_id"])
    kept = index >= 0
    frame = frame[kept].copy()
    frame["row"] = items["row"].to_numpy()[index[kept]]
    frame["circle"] = items["circle"].to_numpy(object)[index[kept]]
    return frame


def last_events(protocol: str, targets: int):
    """Returns how many of n events are targets, as a picklable callable."""
    return _Targets(protocol, targets)


class _Targets:
    def __init__(self, protocol: str, targets: int):
        self._protocol = protocol
        self._targets = targets

    def __call__(self, events: int) -> int:
        if self._protocol == "A":
            return min(self._targets, events)
        return max(1, int(np.ceil(0.2 * events)))
