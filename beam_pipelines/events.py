"""The clean job: row groups -> validation -> buckets of users -> sorted shards."""

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines import shards
from tfrs_himirec import files
from tfrs_himirec.schema import raw

BUCKET_ROWS = 300_000
"""Events that one bucket of users holds on average; a bucket is sorted in memory."""

_EVENT = ["user_id", "item_id", "timestamp"]


def stable_hash(values: np.ndarray, key: str) -> np.ndarray:
    """uint64 `[rows]`: a hash of ids that is the same in every process."""
    text = pd.Series(values).astype(str).to_numpy(object)
    return pd.util.hash_array(text, hash_key=key[:16].ljust(16, "-"))


class Validate(beam.DoFn):
    """Reads a row group; tags rejected rows, keys the others by bucket of users.

    Args:
      path: the interactions.
      known: Parquet file with the column `item_id` of all items.
      buckets: number of buckets.
    """

    def __init__(self, path: str, known: str, buckets: int):
        self._path = path
        self._known_path = known
        self._buckets = buckets

    def setup(self):
        known = pq.read_table(self._known_path, columns=["item_id"])
        self._known = pd.Index(known["item_id"].to_pandas())

    def process(self, group) -> Iterable[tuple[int, Any]]:
        number, first = group
        log = pq.ParquetFile(self._path)
        batches = log.iter_batches(BUCKET_ROWS, row_groups=[number])
        for batch in batches:
            frame = batch.to_pandas()
            frame["row_number"] = np.arange(first, first + len(frame))
            first += len(frame)
            yield from self._divide(frame)

    def _divide(self, frame: pd.DataFrame) -> Iterator[Any]:
        reason = reasons(frame, self._known)
        bad = reason != ""
        if bad.any():
            rejected = frame[bad].assign(reason=reason[bad])
            yield beam.pvalue.TaggedOutput("rejected", rejected)
        good = frame.loc[~bad, [*_EVENT, "row_number"]]
        bucket = stable_hash(good["user_id"].to_numpy(), "bucket") % self._buckets
        for key, rows in good.groupby(bucket):
            table = pa.Table.from_pandas(rows, preserve_index=False)
            yield int(key), _to_bytes(table)


def reasons(frame: pd.DataFrame, known: pd.Index) -> np.ndarray:
    """object `[rows]`: the first rule that a row breaks, or ""."""
    user, item = frame["user_id"], frame["item_id"]
    weight = frame["weight"].to_numpy(float)
    rules = {
        "missing user_id": user.isna() | (user == ""),
        "missing item_id": item.isna() | (item == ""),
        "unknown item": ~item.isin(known),
        "missing timestamp": frame["timestamp"].isna(),
        "negative timestamp": frame["timestamp"] < 0,
        "weight is not a finite number": ~np.isfinite(weight),
        "negative weight": weight < 0,
    }
    reason = np.full(len(frame), "", object)
    for text, broken in reversed(rules.items()):
        reason[np.asarray(broken, bool)] = text
    return reason


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _from_bytes(parts: Iterable[bytes]) -> pd.DataFrame:
    tables = [pa.ipc.open_stream(part).read_all() for part in parts]
    return pa.concat_tables(tables).to_pandas()


class WriteRejected(beam.DoFn):
    """Writes rejected rows as JSON lines, named by their first row."""

    def __init__(self, directory: str):
        self._directory = pathlib.Path(directory)

    def process(self, frame: pd.DataFrame):
        first = int(frame["row_number"].iloc[0])
        path = self._directory / f"from-row-{first:012d}.jsonl"
        with files.atomic_file(path) as temporary:
            frame.to_json(temporary, orient="records", lines=True)
        shards.save_record(path.with_suffix(".npz"), rejected=len(frame))


class CleanBucket(beam.DoFn):
    """Orders the time lines of a bucket's users and drops duplicates.

    Ties in time keep the order of the log; of events with the same user, item and
    timestamp the first stays.
    """

    def __init__(self, directory: str, id_types: dict[str, str]):
        self._directory = pathlib.Path(directory)
        self._schema = raw.interactions_schema(
            id_types["user_id"], id_types["item_id"]
        ).remove(3)

    def process(self, element):
        bucket, parts = element
        frame = _from_bytes(parts)
        frame = frame.sort_values(["user_id", "timestamp", "row_number"])
        clean = frame.drop_duplicates(_EVENT, keep="first")[_EVENT]
        path = self._directory / f"clean-{bucket:05d}.parquet"
        with files.atomic_file(path) as temporary:
            table = pa.Table.from_pandas(clean, self._schema, preserve_index=False)
            pq.write_table(table, temporary)
        items, counts = np.unique(clean["item_id"].to_numpy(), return_counts=True)
        shards.save_record(
            path.with_suffix(".npz"),
            items=items,
            counts=counts,
            duplicates=len(frame) - len(clean),
        )


def run(
    interactions: pathlib.Path,
    known: pathlib.Path,
    work: pathlib.Path,
    buckets: int,
    id_types: dict[str, str],
    options,
) -> None:
    """Writes the shards and records of `clean/` and `rejected/` under `work`."""
    for name in ("clean", "rejected"):
        (work / name).mkdir()
    metadata = pq.ParquetFile(interactions).metadata
    sizes = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    groups = list(enumerate(np.cumsum([0, *sizes[:-1]]).tolist()))
    validate = Validate(str(interactions), str(known), buckets)
    with beam.Pipeline(options=options) as pipeline:
        rows = (
            pipeline
            | "Row groups" >> beam.Create(groups)
            | "Spread" >> beam.Reshuffle()
            | "Validate" >> beam.ParDo(validate).with_outputs("rejected", main="valid")
        )
        rejected = WriteRejected(str(work / "rejected"))
        clean = CleanBucket(str(work / "clean"), id_types)
        _ = rows.rejected | "Keep rejected" >> beam.ParDo(rejected)
        _ = rows.valid | "By bucket" >> beam.GroupByKey() | "Clean" >> beam.ParDo(clean)
