"""Writes the interactions of an import batch by batch."""

import dataclasses
import json
import math
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.acero
import pyarrow.dataset
import pyarrow.parquet as pq
import tqdm

from tfrs_himirec import errors, files
from tfrs_himirec.raw import batches, cleaning
from tfrs_himirec.schema import raw

REJECTED = pathlib.Path("rejected") / "interactions.jsonl"
_REMEDY = "correct the row, or set it aside with --on-bad-rows reject"


@dataclasses.dataclass
class Written:
    """What `write` wrote, and whether all its ids may be stored as int64."""

    rows: int = 0
    rejected: int = 0
    integer_users: bool = True
    integer_items: bool = True


def write(
    source: batches.Source, folder: pathlib.Path, reject: bool, progress: bool
) -> Written:
    """Writes `interactions.parquet`, and malformed rows to `rejected/`.

    Ids are stored as `source.id_types` says, else as strings until all are known.

    Raises:
      HimirecError: a row is malformed and `reject` is off, or no row is left.
    """
    written = Written()
    first: batches.Problem | None = None
    types = source.id_types or {"user_id": "string", "item_id": "string"}
    schema = raw.interactions_schema(types["user_id"], types["item_id"])
    quiet = None if progress else True  # None: where standard error is no terminal
    with (
        pq.ParquetWriter(folder / raw.INTERACTIONS, schema) as writer,
        tqdm.tqdm(unit=" rows", unit_scale=True, disable=quiet) as bar,
    ):
        for batch in source.batches:
            columns, problems = cleaning.interactions(batch)
            if problems and not reject:
                raise problems[0].error(_REMEDY)
            if problems:
                first = first or problems[0]
                _set_aside(folder / REJECTED, problems)
                written.rejected += len(problems)
            if columns:
                _add(writer, schema, columns, batch.untyped, written)
            bar.update(len(batch.rows))
    if first and not written.rows:
        raise first.error(f"all {written.rejected} rows are malformed, correct the log")
    if not written.rows:
        raise errors.HimirecError(f"{source.path}: the log is empty; name another one")
    return written


def _add(
    writer: pq.ParquetWriter,
    schema: pa.Schema,
    columns: dict[str, pa.Array],
    untyped: bool,
    written: Written,
) -> None:
    users, items = columns["user_id"], columns["item_id"]
    written.integer_users &= cleaning.are_integers(users, untyped)
    written.integer_items &= cleaning.are_integers(items, untyped)
    written.rows += len(users)
    writer.write_table(pa.table(columns).cast(schema))


def _set_aside(path: pathlib.Path, problems: list[batches.Problem]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as stream:
        for problem in problems:
            record = {
                "file": str(problem.path),
                "row": problem.row,
                "reason": problem.reason,
                "values": {k: _json_value(v) for k, v in problem.values.items()},
            }
            stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


def _json_value(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite else str(value)


def retype(folder: pathlib.Path, user_type: str, item_type: str) -> None:
    """Stores ids under other types, in bounded memory."""
    path = folder / raw.INTERACTIONS
    schema = raw.interactions_schema(user_type, item_type)
    if pq.read_schema(path).equals(schema):
        return
    with (
        files.atomic_file(path) as temporary,
        pq.ParquetFile(path) as file,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        for batch in file.iter_batches(250_000):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))


def distinct(folder: pathlib.Path, column: str) -> pa.Array:
    """Returns the ids that occur in the log, ascending."""
    log = pyarrow.dataset.dataset(folder / raw.INTERACTIONS)
    scan = pyarrow.acero.ScanNodeOptions(
        log, columns={column: pa.compute.field(column)}
    )
    group = pyarrow.acero.AggregateNodeOptions([], keys=[column])
    plan = pyarrow.acero.Declaration.from_sequence(
        [
            pyarrow.acero.Declaration("scan", scan),
            pyarrow.acero.Declaration("aggregate", group),
        ]
    )
    ids = plan.to_table()[column].combine_chunks()
    return ids.take(pa.compute.sort_indices(ids))
