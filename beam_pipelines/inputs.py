"""What prepare reads: `raw/`, checked before any job starts."""

import dataclasses
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_himirec import errors
from tfrs_himirec.schema import raw


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The two files of `raw/`.

    Attributes:
      interactions: path of the log.
      items: path of the item metadata.
      events: rows of the log.
      id_types: "int64" or "string" for `user_id` and `item_id`.
    """

    interactions: pathlib.Path
    items: pathlib.Path
    events: int
    id_types: dict[str, str]

    @property
    def schema(self) -> pa.Schema:
        return raw.interactions_schema(
            self.id_types["user_id"], self.id_types["item_id"]
        )


def check(directory: pathlib.Path) -> Inputs:
    """Checks the files of `raw/`.

    Raises:
      HimirecError: a file or column is missing or of another type, the log is empty,
        the two item ids differ in type, or an item is missing or named twice.
    """
    interactions, items = raw.paths(directory)
    schema, events = _open(interactions)
    id_types = {
        name: raw.id_type(schema, name, interactions) for name in ("user_id", "item_id")
    }
    _check_columns(
        schema,
        raw.interactions_schema(id_types["user_id"], id_types["item_id"]),
        interactions,
    )
    if not events:
        raise errors.HimirecError(f"{interactions}: no events; import a longer log")
    item_schema, _ = _open(items)
    item_type = raw.id_type(item_schema, "item_id", items)
    _check_columns(item_schema, raw.items_schema(item_type), items)
    if item_type != id_types["item_id"]:
        raise errors.HimirecError(
            f"{items}: item_id is {item_type}, but {id_types['item_id']} in "
            f"{interactions.name}; import both with the same type"
        )
    _check_items(pq.read_table(items, columns=["item_id"])["item_id"], items)
    return Inputs(interactions, items, events, id_types)


def _open(path: pathlib.Path) -> tuple[pa.Schema, int]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise errors.HimirecError(
            f"{path}: not a Parquet file ({error}); run `himirec import` again"
        ) from None
    return file.schema_arrow, file.metadata.num_rows


def _check_columns(found: pa.Schema, wanted: pa.Schema, path: pathlib.Path) -> None:
    for field in wanted:
        if field.name not in found.names:
            raise errors.HimirecError(
                f"{path}: column {field.name!r} is missing (found "
                f"{', '.join(found.names)}); run `himirec import` again"
            )
    numbers = {"timestamp": pa.types.is_integer, "weight": pa.types.is_floating}
    for name, is_right in numbers.items():
        if name in wanted.names and not is_right(found.field(name).type):
            raise errors.HimirecError(
                f"{path}: column {name!r} is {found.field(name).type}, expected "
                f"{wanted.field(name).type}; run `himirec import` again"
            )


def _check_items(column: pa.ChunkedArray, path: pathlib.Path) -> None:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise errors.HimirecError(
            f"{path}: row {row + 1} has no item_id; correct or remove it"
        )
    ids = pd.Series(column.to_pandas())
    twice = np.flatnonzero(ids.duplicated())
    if len(twice):
        again = int(twice[0])
        first = int(np.flatnonzero(ids == ids[again])[0])
        raise errors.HimirecError(
            f"{path}: item_id {ids[again]} is in rows {first + 1} and {again + 1}; "
            "keep one of them"
        )
