"""Logs of served results and their outcomes, one row per shown item."""

import itertools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tfrs_himirec import errors, files
from tfrs_himirec.raw import readers
from tfrs_himirec.schema import raw

COLUMNS = ("user_id", "item_id", "timestamp")
_IDS = COLUMNS[:2]
_JSON_ROWS = 50_000
_TOO_LATE = 1e11  # milliseconds since 1973, or seconds of the year 5138
_BOOLEANS = {"true": 1.0, "false": 0.0}


def read(path: files.Path, outcomes: Sequence[str] | None = None) -> pd.DataFrame:
    """Reads a log of served results.

    Args:
      path: CSV, JSONL or Parquet with `user_id`, `item_id`, `timestamp` (Unix seconds)
        and outcome columns (booleans, or numbers >= 0).
      outcomes: the outcome columns; by default all others that hold any number.

    Returns:
      Ids as text, so that 1 and "1" are the same user in both logs, then `timestamp`
      and the outcomes as floats. The index is the place in the file.

    Raises:
      HimirecError: the file cannot be read or is empty, a column is missing, or a
        value is malformed; the message names row and column.
    """
    path = pathlib.Path(path)
    log = _load(path)
    if log.empty:
        raise errors.HimirecError(f"{path}: no rows; give a log with served results")
    wanted = _wanted(path, log, outcomes)
    for name in _IDS:
        text = log[name].fillna("").astype(str)
        _refuse(path, log[name], text.str.strip() == "", "an id")
    numbers = {name: _numbers(log[name]) for name in wanted}
    if not outcomes:
        numbers = {n: v for n, v in numbers.items() if n in COLUMNS or v.notna().any()}
    if len(numbers) == 1:
        raise errors.HimirecError(
            f"{path}: an outcome column is missing (found {', '.join(map(str, log))}); "
            "add a column of numbers or booleans, such as 'click'"
        )
    for name, number in numbers.items():
        late = number >= (_TOO_LATE if name == "timestamp" else np.inf)
        expected = "Unix seconds" if name == "timestamp" else "a finite number >= 0"
        _refuse(path, log[name], ~(number >= 0) | late, expected)
    return pd.DataFrame({name: log[name] for name in _IDS} | numbers)


def _wanted(
    path: pathlib.Path, log: pd.DataFrame, outcomes: Sequence[str] | None
) -> list[str]:
    """Returns `timestamp` and the columns that are, or may be, outcomes."""
    found = [str(name) for name in log]
    for name in outcomes or ():
        if name in COLUMNS:
            raise errors.HimirecError(
                f"--outcomes: {name!r} is no outcome; name columns besides "
                f"{', '.join(COLUMNS)}"
            )
    for name in (*COLUMNS, *(outcomes or ())):
        if name not in found:
            raise errors.HimirecError(
                f"{path}: column {name!r} is missing (found {', '.join(found)}); "
                + ("rename your column" if name in COLUMNS else "correct --outcomes")
            )
    return ["timestamp", *(outcomes or [n for n in found if n not in COLUMNS])]


def _numbers(values: pd.Series) -> pd.Series:
    """Floats; NaN where a value is neither a number nor a boolean."""
    if pd.api.types.is_numeric_dtype(values):
        return values.astype(float)
    if values.dtype.kind in "mM":  # pandas would count nanoseconds
        return pd.Series(np.nan, values.index)
    plain = values.map(lambda value: _BOOLEANS.get(str(value).lower(), value))
    return pd.to_numeric(plain, errors="coerce").astype(float)


def _refuse(path: pathlib.Path, values: pd.Series, bad, expected: str) -> None:
    """Names the first bad row, in the words of the importers."""
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        unit = "row" if path.suffix == ".parquet" else "line"
        received = repr(values.iloc[[place]].tolist()[0])
        raise errors.HimirecError(
            f"{path}: {unit} {values.index[place]}: column {values.name!r}: expected "
            f"{expected}, received {received[:80]}; correct or remove the row"
        )


def _load(path: pathlib.Path) -> pd.DataFrame:
    if path.suffix not in _READERS:
        raise errors.HimirecError(
            f"{path}: unknown kind of file; give one of {', '.join(_READERS)}"
        )
    try:
        return _READERS[path.suffix](path)
    except FileNotFoundError:
        raise errors.HimirecError(f"{path}: no such file; check the path") from None
    except (pa.ArrowException, OSError) as error:
        line = " ".join(str(error).split())
        raise errors.HimirecError(
            f"{path}: not readable as {path.suffix[1:]}: {line}; correct the file"
        ) from None


def _csv(path: pathlib.Path) -> pd.DataFrame:
    table = pyarrow.csv.read_csv(
        path,
        # Arrow tells the line of a malformed row to a single thread only.
        pyarrow.csv.ReadOptions(use_threads=False),
        # Empty lines count as lines; they are rows of nulls until they are dropped.
        pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(_IDS, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    return _frame(path, table, first=2).dropna(how="all")


def _parquet(path: pathlib.Path) -> pd.DataFrame:
    with pq.ParquetFile(path) as file:
        return _frame(path, file.read(), first=1)


def _frame(path: pathlib.Path, table: pa.Table, first: int) -> pd.DataFrame:
    """Makes ids text before pandas can turn integers beside a null into floats."""
    names = table.column_names
    for place, name in enumerate(names):
        if names.count(name) > 1:
            raise errors.HimirecError(
                f"{path}: {names.count(name)} columns are called {name!r}; rename all "
                "but one"
            )
        if name in _IDS:
            column = table.column(name)
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            raw.id_type(pa.schema([(name, column.type)]), name, path)
            table = table.set_column(place, name, column.cast(pa.string()))
    frame = table.to_pandas(ignore_metadata=True)
    return frame.set_axis(np.arange(first, first + len(frame)))


def _jsonl(path: pathlib.Path) -> pd.DataFrame:
    parts = []
    with open(path, "rb") as stream:
        lines = ((row, line) for row, line in enumerate(stream, 1) if line.strip())
        while chunk := list(itertools.islice(lines, _JSON_ROWS)):
            records = [_record(path, *one) for one in chunk]
            rows = [row for row, _ in chunk]
            parts.append(pd.DataFrame(records, rows))
    return pd.concat(parts) if parts else pd.DataFrame()


def _record(path: pathlib.Path, row: int, line: bytes) -> dict:
    try:
        record = readers.json_record(line, _IDS)
    except ValueError as error:
        raise errors.HimirecError(
            f"{path}: line {row}: {error}; correct or remove the line"
        ) from None
    present = {name: record[name] for name in _IDS if record.get(name) is not None}
    return record | {name: str(value) for name, value in present.items()}


_READERS: dict[str, Callable[[pathlib.Path], pd.DataFrame]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
