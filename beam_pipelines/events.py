"""The clean job: row groups -> validation -> buckets of users -> sorted shards."""

import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_pipelines import inputs, shards
from tfrs_himirec import files

BUCKET_ROWS = 300_000
"""Events that a bucket of users holds on average, and most rows read at once."""

_EVENT = ["user_id", "item_id", "timestamp"]
_INF = float("inf")


def stable_hash(values: np.ndarray, key: str) -> np.ndarray:
    """uint64 `[rows]`: a hash of ids that is the same in every process."""
    text = pd.Series(values).astype(str).to_numpy(object)
    return pd.util.hash_array(text, hash_key=key[:16].ljust(16, "-"))


class Validate(beam.DoFn):
    """Reads a row group; tags rejected rows, keys the others by bucket of users.

    A large row group is read in batches, so that it need not fit in memory.

    Args:
      log: the interactions.
      buckets: number of buckets.
    """

    def __init__(self, log: inputs.Inputs, buckets: int):
        self._path = str(log.interactions)
        self._items_path = str(log.items)
        self._schema = log.schema
        self._buckets = buckets

    def setup(self):
        known = pq.read_table(self._items_path, columns=["item_id"])["item_id"]
        self._known = known.combine_chunks().cast(self._schema.field("item_id").type)

    def process(self, group) -> Iterable[tuple[int, Any]]:
        number, first = group
        log = pq.ParquetFile(self._path)
        batches = log.iter_batches(
            BUCKET_ROWS, row_groups=[number], columns=self._schema.names
        )
        for batch in batches:
            rows = np.arange(first, first + len(batch))
            first += len(batch)
            table = pa.Table.from_batches([batch]).cast(self._schema)
            yield from self._divide(table.append_column("row_number", pa.array(rows)))

    def _divide(self, table: pa.Table) -> Iterator[Any]:
        reason = reasons(table, self._known)
        bad = reason != ""
        if bad.any():
            rejected = table.append_column("reason", pa.array(reason, pa.string()))
            yield beam.pvalue.TaggedOutput("rejected", _to_bytes(rejected.filter(bad)))
        # To pandas only without nulls: they would turn integers into floats.
        good = table.filter(~bad).drop_columns("weight").to_pandas()
        bucket = stable_hash(good["user_id"].to_numpy(), "bucket") % self._buckets
        for key, rows in good.groupby(bucket):
            yield int(key), _to_bytes(pa.Table.from_pandas(rows, preserve_index=False))


def reasons(table: pa.Table, known: pa.Array) -> np.ndarray:
    """object `[rows]`: the first rule that a row breaks, or ""."""
    time, weight = table["timestamp"], table["weight"]
    rules = {
        "missing user_id": _missing(table["user_id"]),
        "missing item_id": _missing(table["item_id"]),
        "unknown item": pc.invert(pc.is_in(table["item_id"], value_set=known)),
        "missing timestamp": pc.is_null(time),
        "negative timestamp": pc.less(time, 0),
        "weight is not a finite number": pc.invert(pc.is_finite(weight)),
        "negative weight": pc.less(weight, 0),
    }
    reason = np.full(len(table), "", object)
    for text, broken in reversed(rules.items()):
        reason[pc.fill_null(broken, True).to_numpy()] = text
    return reason


def _missing(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(ids.type):
        return pc.equal(ids, "")
    return pc.is_null(ids)


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _from_bytes(parts: Iterable[bytes]) -> pa.Table:
    return pa.concat_tables(pa.ipc.open_stream(part).read_all() for part in parts)


class WriteRejected(beam.DoFn):
    """Writes rejected rows as JSON lines, named by their first row."""

    def __init__(self, directory: str):
        self._directory = pathlib.Path(directory)

    def process(self, element: bytes):
        rows = _from_bytes([element]).to_pylist()
        path = self._directory / f"from-row-{rows[0]['row_number']:012d}.jsonl"
        lines = [json.dumps(_without_nan(row), ensure_ascii=False) for row in rows]
        with files.atomic_file(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n")
        shards.save_record(path.with_suffix(".npz"), rejected=len(rows))


def _without_nan(row: dict) -> dict:
    """JSON has no NaN and no infinity; they become text."""
    return {
        name: str(value) if value != value or value in (_INF, -_INF) else value
        for name, value in row.items()
    }


class CleanBucket(beam.DoFn):
    """Orders the time lines of a bucket's users and drops duplicates.

    Ties in time keep the order of the log; of events with the same user, item and
    timestamp the first stays. Beside each shard stand its record and the number of
    events of each item.
    """

    def __init__(self, directory: str, schema: pa.Schema):
        self._directory = pathlib.Path(directory)
        self._schema = pa.schema([schema.field(name) for name in _EVENT])

    def process(self, element):
        bucket, parts = element
        frame = _from_bytes(parts).to_pandas()
        frame = frame.sort_values(["user_id", "timestamp", "row_number"])
        clean = frame.drop_duplicates(_EVENT, keep="first")[_EVENT]
        path = self._directory / f"clean-{bucket:05d}.parquet"
        with files.atomic_file(path) as temporary:
            table = pa.Table.from_pandas(clean, self._schema, preserve_index=False)
            pq.write_table(table, temporary)
        shards.save_counts(path.with_suffix(".counts"), clean["item_id"])
        duplicates = len(frame) - len(clean)
        shards.save_record(path.with_suffix(".npz"), duplicates=duplicates)


def run(log: inputs.Inputs, work: pathlib.Path, buckets: int, options) -> None:
    """Writes the shards and records of `clean/` and `rejected/` under `work`."""
    for name in ("clean", "rejected"):
        (work / name).mkdir()
    metadata = pq.ParquetFile(log.interactions).metadata
    sizes = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    groups = list(enumerate(np.cumsum([0, *sizes[:-1]]).tolist()))
    validate = Validate(log, buckets)
    with beam.Pipeline(options=options) as pipeline:
        rows = (
            pipeline
            | "Row groups" >> beam.Create(groups)
            | "Spread" >> beam.Reshuffle()
            | "Validate" >> beam.ParDo(validate).with_outputs("rejected", main="valid")
        )
        rejected = WriteRejected(str(work / "rejected"))
        clean = CleanBucket(str(work / "clean"), log.schema)
        _ = rows.rejected | "Keep rejected" >> beam.ParDo(rejected)
        _ = rows.valid | "By bucket" >> beam.GroupByKey() | "Clean" >> beam.ParDo(clean)
