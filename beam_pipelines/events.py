"""The clean job: row groups -> validation -> buckets of users -> sorted shards."""

import pathlib
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_HASH_KEY = "himirec-bucket-1"[:16]


def stable_hash(values: pd.Series, key: str = _HASH_KEY) -> np.ndarray:
    """uint64 `[rows]`: a hash that is the same in every process."""
    return pd.util.hash_array(values.astype(str).to_numpy(object), hash_key=key)


class Validate(beam.DoFn):
    """Reads one row group; tags rejected rows, keys the others by user bucket.

    Args:
      path: the interactions file.
      item_ids: file of known item ids, written with `numpy.save`.
      buckets: number of user buckets.
    """

    def __init__(self, path: str, item_ids: str, buckets: int):
        self._path = path
        self._item_ids = item_ids
        self._buckets = buckets

    def setup(self):
        self._known = pd.Index(np.load(self._item_ids, allow_pickle=True))

    def process(self, group) -> Iterable[tuple[int, Any]]:
        number, first = group
        frame = pq.ParquetFile(self._path).read_row_group(number).to_pandas()
        frame["row_number"] = np.arange(first, first + len(frame))
        reason = self._reasons(frame)
        bad = frame[reason != ""].assign(reason=reason[reason != ""])
        if len(bad):
            yield beam.pvalue.TaggedOutput("rejected", (number, bad))  # type: ignore[misc]
        good = frame[reason == ""]
        bucket = stable_hash(good["user_id"]) % self._buckets
        for key, rows in good.groupby(bucket):
            table = pa.Table.from_pandas(rows, preserve_index=False)
            yield int(key), table.combine_chunks().to_batches()[0]

    def _reasons(self, frame: pd.DataFrame) -> pd.Series:
        """The first rule that a row breaks, or ""."""
        weight = frame["weight"]
        rules = {
            "missing user_id": frame["user_id"].isna() | (frame["user_id"] == ""),
            "missing item_id": frame["item_id"].isna() | (frame["item_id"] == ""),
            "unknown item": ~frame["item_id"].isin(self._known),
            "missing timestamp": frame["timestamp"].isna(),
            "negative timestamp": frame["timestamp"] < 0,
            "weight is not a finite number": ~np.isfinite(weight.fillna(np.inf)),
            "negative weight": weight < 0,
        }
        reason = pd.Series("", index=frame.index)
        for text, broken in rules.items():
            reason[broken & (reason == "")] = text
        return reason


class WriteRejected(beam.DoFn):
    """Writes rejected rows as JSON lines and emits their number."""

    def __init__(self, directory: str):
        self._directory = pathlib.Path(directory)

    def process(self, element):
        number, frame = element
        frame.to_json(
            self._directory / f"part-{number:05d}.jsonl", orient="records", lines=True
        )
        yield len(frame)


class CleanBucket(beam.DoFn):
    """Sorts and dedupes the events of a bucket's users and writes one shard."""

    def __init__(self, directory: str):
        self._directory = pathlib.Path(directory)

    def process(self, element):
        bucket, parts = element
        frame = pa.Table.from_batches(list(parts)).to_pandas()
        frame = frame.sort_values(["user_id", "timestamp", "row_number"])
        key = ["user_id", "item_id", "timestamp"]
        clean = frame.drop_duplicates(key, keep="first")
        path = self._directory / f"clean-{bucket:05d}.parquet"
        columns = ["user_id", "item_id", "timestamp"]
        clean[columns].to_parquet(path, index=False)
        yield len(frame) - len(clean)


def run(interactions, item_ids: str, work: pathlib.Path, buckets: int, options) -> None:
    """Writes `clean/` and `rejected/` under `work`."""
    for name in ("clean", "rejected"):
        (work / name).mkdir(parents=True)
    metadata = pq.ParquetFile(interactions).metadata
    sizes = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    firsts = np.cumsum([0, *sizes[:-1]])
    groups = [(g, int(first)) for g, first in enumerate(firsts)]
    with beam.Pipeline(options=options) as pipeline:
        rows = (
            pipeline
            | "RowGroups" >> beam.Create(groups)
            | "Spread" >> beam.Reshuffle()
            | "Validate"
            >> beam.ParDo(Validate(str(interactions), item_ids, buckets)).with_outputs(
                "rejected", main="valid"
            )
        )
        _ = rows.rejected | beam.ParDo(WriteRejected(str(work / "rejected")))
        _ = (
            rows.valid
            | "ByBucket" >> beam.GroupByKey()
            | "Clean" >> beam.ParDo(CleanBucket(str(work / "clean")))
        )
