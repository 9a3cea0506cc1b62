"""What every reader of logs yields: rows as they stand in a file, and their place."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tfrs_himirec import config, errors


@dataclasses.dataclass(frozen=True)
class Problem:
    """A malformed row: its place, why it is malformed, and what it holds."""

    path: pathlib.Path
    unit: str
    row: int
    reason: str
    values: dict[str, Any]

    def error(self, remedy: str) -> errors.HimirecError:
        return errors.HimirecError(
            f"{self.path}: {self.unit} {self.row}: {self.reason}; {remedy}"
        )


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of one file, unchecked.

    Attributes:
      path: the file.
      unit: how its rows are counted from 1, "line" or "row".
      rows: int64 `[rows]`, the place of each row.
      columns: arrays `[rows]` by their name in the `raw/` contract.
      names: the file's own column names, by the same keys.
      untyped: ids come as text that may mean integers, as in CSV.
      broken: rows that could not be split into columns.
    """

    path: pathlib.Path
    unit: str
    rows: np.ndarray
    columns: dict[str, pa.Array]
    names: dict[str, str]
    untyped: bool = False
    broken: Sequence[Problem] = ()

    def problem(self, place: int, column: str, expected: str) -> Problem:
        """Says that a column of the row at `place` is not as expected."""
        values = {
            name: self.columns[key][place].as_py() for key, name in self.names.items()
        }
        received = repr(values[self.names[column]])
        if len(received) > 80:
            received = received[:77] + "..."
        reason = f"column {self.names[column]!r}: expected {expected}, "
        reason += f"received {received}"
        return Problem(self.path, self.unit, int(self.rows[place]), reason, values)


@dataclasses.dataclass(frozen=True)
class Fields:
    """Columns to read: the file's name by contract name, and which must be there."""

    names: dict[str, str]
    required: frozenset[str]

    def present(self, found: Iterable[str], path: pathlib.Path) -> dict[str, str]:
        """Returns the entries of `names` that the file has.

        Raises:
          HimirecError: a required column is missing, or a name stands twice.
        """
        found = list(found)
        for key, name in self.names.items():
            if name not in found and key in self.required:
                raise errors.HimirecError(
                    f"{path}: column {name!r} is missing (found {', '.join(found)}); "
                    f"name your column with --{key.replace('_', '-')}-column"
                )
            if found.count(name) > 1:
                raise errors.HimirecError(
                    f"{path}: {found.count(name)} columns are called {name!r}; rename "
                    "all but one"
                )
        return {key: name for key, name in self.names.items() if name in found}


def log_fields(columns: config.Columns) -> Fields:
    names = ("user_id", "item_id", "timestamp", "weight")
    return _fields(columns, names, {"user_id", "item_id", "timestamp"})


def item_fields(columns: config.Columns) -> Fields:
    return _fields(columns, ("item_id", "title", "text", "tags"), {"item_id"})


def _fields(
    columns: config.Columns, keys: tuple[str, ...], required: set[str]
) -> Fields:
    names = {key: getattr(columns, key) for key in keys}
    renamed = {key for key, name in names.items() if name != key}
    return Fields(names, frozenset(required | renamed))


@dataclasses.dataclass(frozen=True)
class Source:
    """A log to import.

    Attributes:
      path: of the log, for messages.
      batches: the interactions in the order of the log.
      id_types: "int64" or "string" for `user_id` and `item_id` in every batch, or
        empty where only the values tell.
      items: columns of the `raw/` contract, or None: the log names the items.
    """

    path: pathlib.Path
    batches: Iterator[Batch]
    id_types: dict[str, str]
    items: pa.Table | None
