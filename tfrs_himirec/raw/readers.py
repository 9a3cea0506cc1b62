"""Readers of CSV, JSONL and Parquet: batches of rows, with bounded memory."""

import contextlib
import io
import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tfrs_himirec import errors
from tfrs_himirec.raw import batches
from tfrs_himirec.schema import raw

_ROWS = 250_000
_JSON_ROWS = 50_000
_BLOCK = 8 << 20
_IDS = ("user_id", "item_id")


def csv_batches(
    path: pathlib.Path,
    fields: batches.Fields,
    content: bytes | None = None,
    header: Sequence[str] = (),
    delimiter: str = ",",
) -> Iterator[batches.Batch]:
    """Reads CSV as text. A quoted line break does not count as a line.

    Args:
      path: the file, also for messages where `content` is given.
      fields: the columns to read.
      content: the file's bytes, where it stands in an archive.
      header: column names of a file whose first line holds data.
      delimiter: between columns.

    Raises:
      HimirecError: the file is not CSV, or a required column is missing.
    """
    broken: list[batches.Problem] = []

    def skip(row: Any) -> str:
        reason = f"expected {row.expected_columns} columns, "
        reason += f"received {row.actual_columns}"
        values = {"line": row.text}
        broken.append(batches.Problem(path, "line", row.number, reason, values))
        return "skip"

    with _readable(path, "CSV"):
        found = header or _csv_header(path, delimiter)
        names = fields.present(found, path)
        line = 1 if header else 2
        stream = path if content is None else io.BytesIO(content)
        for part in pyarrow.csv.open_csv(
            stream,
            # Arrow tells the line of a malformed row to a single thread only.
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=_BLOCK, column_names=list(header) or None
            ),
            _csv_format(delimiter, skip),
            _as_text(found),
        ):
            lines = _lines(line, part.num_rows, [one.row for one in broken])
            line = int(lines[-1]) + 1 if len(lines) else line
            filled = _filled(part)
            columns = {
                key: part.column(name).filter(filled) for key, name in names.items()
            }
            yield batches.Batch(
                path, "line", lines[filled], columns, names, True, _take(broken, line)
            )
    if broken:
        yield batches.Batch(path, "line", np.empty(0, np.int64), {}, {}, True, broken)


def _csv_format(delimiter: str, skip: Any) -> pyarrow.csv.ParseOptions:
    return pyarrow.csv.ParseOptions(
        delimiter=delimiter,
        newlines_in_values=True,
        ignore_empty_lines=False,  # they count as lines; `_filled` drops them
        invalid_row_handler=skip,
    )


def _as_text(names: Sequence[str]) -> pyarrow.csv.ConvertOptions:
    return pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )


def _csv_header(path: pathlib.Path, delimiter: str) -> list[str]:
    parse = _csv_format(delimiter, lambda row: "skip")
    return pyarrow.csv.open_csv(path, parse_options=parse).schema.names


def _lines(first: int, count: int, skipped: list[int]) -> np.ndarray:
    """Line numbers of the next `count` rows, int64 `[count]`."""
    candidates = np.arange(first, first + count + len(skipped))
    return np.setdiff1d(candidates, skipped)[:count]


def _take(broken: list[batches.Problem], line: int) -> list[batches.Problem]:
    """Removes and returns the problems before a line; later ones are of later rows."""
    taken = [one for one in broken if one.row < line]
    broken[:] = [one for one in broken if one.row >= line]
    return taken


def _filled(part: pa.RecordBatch) -> np.ndarray:
    """False for an empty line, which Arrow reads as a row of nulls: bool `[rows]`."""
    filled = np.zeros(part.num_rows, bool)
    for column in part.columns:
        filled |= column.is_valid().to_numpy(zero_copy_only=False)
    return filled


def jsonl_batches(
    path: pathlib.Path, fields: batches.Fields
) -> Iterator[batches.Batch]:
    """Reads one JSON object a line; empty lines are skipped.

    Raises:
      HimirecError: a required column is missing in the first objects.
    """
    names: dict[str, str] = {}
    with open(path, "rb") as stream:
        lines = ((row, line) for row, line in enumerate(stream, 1) if line.strip())
        while chunk := list(itertools.islice(lines, _JSON_ROWS)):
            rows, records, broken = _json_records(path, chunk, fields)
            if records and not names:
                found = dict.fromkeys(itertools.chain.from_iterable(records))
                names = fields.present(found, path)
            columns = {
                key: _json_column(key, [record.get(name) for record in records])
                for key, name in names.items()
            }
            yield batches.Batch(
                path, "line", np.array(rows, np.int64), columns, names, False, broken
            )


def _json_records(
    path: pathlib.Path, chunk: list[tuple[int, bytes]], fields: batches.Fields
) -> tuple[list[int], list[dict], list[batches.Problem]]:
    rows, records, broken = [], [], []
    ids = [fields.names[key] for key in _IDS if key in fields.names]
    for row, line in chunk:
        try:
            record = json_record(line, ids)
        except ValueError as error:
            values = {"line": line.decode(errors="replace").rstrip("\r\n")}
            broken.append(batches.Problem(path, "line", row, str(error), values))
        else:
            rows.append(row)
            records.append(record)
    return rows, records, broken


def json_record(line: bytes, ids: Sequence[str]) -> dict:
    """Parses a line of JSONL.

    Args:
      line: one JSON object.
      ids: its columns that hold ids.

    Raises:
      ValueError: it is no JSON object, or an id is no integer, string or null.
    """
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, received {record!r}")
    for name in ids:
        value = record.get(name)
        if type(value) not in (int, str, type(None)):
            raise ValueError(
                f"column {name!r}: expected an integer or a string, received {value!r}"
            )
    return record


def _json_column(key: str, values: list) -> pa.Array:
    """Ids keep their type where all are integers, tags stay lists, else text."""
    if key == "tags":
        return pa.array([_json_tags(value) for value in values], pa.list_(pa.string()))
    if key in _IDS and not any(isinstance(value, str) for value in values):
        with contextlib.suppress(OverflowError):
            return pa.array(values, pa.int64())
    return pa.array([_json_text(value) for value in values], pa.string())


def _json_tags(value: Any) -> Sequence[str | None]:
    if isinstance(value, list):
        return [_json_text(tag) for tag in value]
    return (_json_text(value) or "").split("|")


def _json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def parquet_batches(
    parts: Sequence[pathlib.Path], fields: batches.Fields, id_types: dict[str, str]
) -> Iterator[batches.Batch]:
    """Reads Parquet files one after the other; rows count from 1 in each.

    Raises:
      HimirecError: a file is not Parquet, or a required column is missing.
    """
    for path in parts:
        with _readable(path, "Parquet"), pq.ParquetFile(path) as file:
            names = fields.present(file.schema_arrow.names, path)
            row = 1
            for part in file.iter_batches(_ROWS, columns=list(names.values())):
                columns = {
                    key: _parquet_column(part.column(name), id_types.get(key))
                    for key, name in names.items()
                }
                rows = np.arange(row, row + part.num_rows)
                yield batches.Batch(path, "row", rows, columns, names)
                row += part.num_rows


def parquet_id_types(
    parts: Sequence[pathlib.Path], fields: batches.Fields
) -> dict[str, str]:
    """Returns "int64" for id columns that are integers in every part, else "string".

    Raises:
      HimirecError: a file is not Parquet, a column is missing or holds no ids.
    """
    types: dict[str, str] = {}
    for path in parts:
        with _readable(path, "Parquet"):
            schema = pq.read_schema(path)
        names = fields.present(schema.names, path)
        for key in set(_IDS) & set(names):
            decoded = pa.schema([(names[key], _decoded(schema.field(names[key]).type))])
            kind = raw.id_type(decoded, names[key], path)
            types[key] = "string" if "string" in (kind, types.get(key)) else "int64"
    return types


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _parquet_column(array: pa.Array, id_type: str | None) -> pa.Array:
    return array.cast(raw.ID_TYPES[id_type] if id_type else _decoded(array.type))


@contextlib.contextmanager
def _readable(path: pathlib.Path, kind: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        line = " ".join(str(error).split())
        raise errors.HimirecError(
            f"{path}: not readable as {kind}: {line}; correct the file"
        ) from None
