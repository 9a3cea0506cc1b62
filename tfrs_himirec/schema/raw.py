"""`raw/`: interactions and items as imported, before any cleaning."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_himirec import errors, files

INTERACTIONS = "interactions.parquet"
ITEMS = "items.parquet"
ID_TYPES = {"int64": pa.int64(), "string": pa.string()}


def interactions_schema(user_type: str, item_type: str) -> pa.Schema:
    """One event a row, in the order of the log; ties in time keep that order.

    `timestamp` is any int64 that orders a user's events (Unix seconds where known);
    `weight` is a rating or strength >= 0.
    """
    return pa.schema(
        [
            ("user_id", ID_TYPES[user_type]),
            ("item_id", ID_TYPES[item_type]),
            ("timestamp", pa.int64()),
            ("weight", pa.float32()),
        ]
    )


def items_schema(item_type: str) -> pa.Schema:
    """One item a row; ids are unique."""
    return pa.schema(
        [
            ("item_id", ID_TYPES[item_type]),
            ("title", pa.string()),
            ("text", pa.string()),
            ("tags", pa.list_(pa.string())),
        ]
    )


def id_type(schema: pa.Schema, column: str, path: files.Path) -> str:
    """Returns "int64" or "string", the two id types of the project.

    Raises:
      HimirecError: the column is missing or holds neither integers nor strings.
    """
    if column not in schema.names:
        raise errors.HimirecError(
            f"{path}: column {column!r} is missing (found {', '.join(schema.names)}); "
            f"name your column with --{column.replace('_', '-')}-column at import"
        )
    kind = schema.field(column).type
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    raise errors.HimirecError(
        f"{path}: column {column!r} is {kind}; ids must be integers or strings"
    )


def write(directory: files.Path, interactions: pa.Table, items: pa.Table) -> None:
    """Writes both tables of `raw/`; the caller provides an atomic directory."""
    folder = pathlib.Path(directory)
    pq.write_table(interactions, folder / INTERACTIONS, row_group_size=250_000)
    pq.write_table(items, folder / ITEMS, row_group_size=250_000)


def paths(directory: files.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Returns the paths of the interactions and the items.

    Raises:
      HimirecError: one of the two files is missing.
    """
    folder = pathlib.Path(directory)
    for name in (INTERACTIONS, ITEMS):
        if not (folder / name).is_file():
            raise errors.HimirecError(
                f"{folder / name}: no such file; run `himirec import` or "
                "`himirec synth` first"
            )
    return folder / INTERACTIONS, folder / ITEMS
