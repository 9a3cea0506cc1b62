"""The build job: clean shards -> TFRecords of users and split histories."""

import pathlib

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from beam_pipelines import shards
from tfrs_himirec import config, files
from tfrs_himirec.schema import histories, sequences


def target_counts(events: np.ndarray, settings: config.Prepare) -> np.ndarray:
    """Returns how many last events of a test user are targets (docs/evaluation.md)."""
    if settings.protocol == "A":
        return np.minimum(events, settings.targets)
    return np.maximum(1, np.ceil(0.2 * events)).astype(int)


class BuildShard(beam.DoFn):
    """Writes the Examples and the split histories of one clean shard.

    Args:
      work: directory with `items.parquet`, `users.parquet`, `sequences/` and
        `histories/`.
      count: number of clean shards.
      settings: of prepare.
      id_types: of `user_id` and `item_id`.
    """

    def __init__(
        self,
        work: str,
        count: int,
        settings: config.Prepare,
        id_types: dict[str, str],
    ):
        self._work = pathlib.Path(work)
        self._count = count
        self._settings = settings
        self._id_types = id_types

    def setup(self):
        self._items = pd.read_parquet(self._work / "items.parquet")
        self._index = pd.Index(self._items["item_id"])
        users = pd.read_parquet(self._work / "users.parquet")
        self._split = users.set_index("user_id")["split"]

    def process(self, element):
        number, path = element
        frame = self._kept_events(path)
        sizes = frame.groupby("user_id", sort=False).size()
        split = self._split[sizes.index].to_numpy()
        targets = target_counts(sizes.to_numpy(), self._settings)
        targets = np.where(split == "train", 0, targets)
        written = sizes.to_numpy() > targets
        self._write_examples(number, frame, sizes, targets, split)
        position = frame.groupby("user_id", sort=False).cumcount().to_numpy()
        past = position < np.repeat(sizes.to_numpy() - targets, sizes)
        self._write_histories(number, frame[past])
        counts = {name: (written & (split == name)).sum() for name in sequences.SPLITS}
        path = self._work / "built" / f"built-{number:05d}.npz"
        shards.save_record(path, too_short=(~written).sum(), **counts)

    def _kept_events(self, path: str) -> pd.DataFrame:
        frame = pd.read_parquet(path)
        row = self._index.get_indexer(frame["item_id"])
        kept = (row >= 0) & frame["user_id"].isin(self._split.index).to_numpy()
        circle = self._items["circle"].to_numpy(object)[row[kept]]
        return frame[kept].assign(row=row[kept], circle=circle)

    def _write_examples(self, number, frame, sizes, targets, split) -> None:
        encode = sequences.Encoder()
        rows, times = frame["row"].to_numpy(), frame["timestamp"].to_numpy()
        ends = np.cumsum(sizes.to_numpy())
        for name in sequences.SPLITS:
            shard = sequences.shard_name(name, number, self._count)
            path = self._work / "sequences" / shard
            with (
                files.atomic_file(path) as temporary,
                tf.io.TFRecordWriter(str(temporary)) as writer,
            ):
                for i in np.flatnonzero((split == name) & (sizes > targets)):
                    start, end = ends[i] - sizes.iloc[i], ends[i]
                    cut = end - targets[i]
                    past = slice(start, cut)
                    example = encode(
                        sizes.index[i], rows[past], times[past], rows[cut:end]
                    )
                    writer.write(example)

    def _write_histories(self, number: int, past: pd.DataFrame) -> None:
        schema = histories.schema(self._id_types["user_id"], self._id_types["item_id"])
        user, circle = (pd.factorize(past[n])[0] for n in ("user_id", "circle"))
        order = np.lexsort((circle, user))  # stable: lists stay in time order
        user, circle, past = user[order], circle[order], past.iloc[order]
        new = (np.diff(user, prepend=-1) != 0) | (np.diff(circle, prepend=-1) != 0)
        starts = np.flatnonzero(new)
        offsets = pa.array(np.append(starts, len(past)), pa.int32())
        columns = [pa.array(past[n].iloc[starts]) for n in ("user_id", "circle")]
        for name in ("item_id", "timestamp"):
            columns.append(pa.ListArray.from_arrays(offsets, pa.array(past[name])))
        columns = [c.cast(f.type) for c, f in zip(columns, schema, strict=True)]
        table = pa.Table.from_arrays(columns, schema=schema)
        path = self._work / "histories" / histories.shard_name(number, self._count)
        with files.atomic_file(path) as temporary:
            pq.write_table(table, temporary)
