"""The item table of an import."""

import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_himirec import errors
from tfrs_himirec.raw import batches, cleaning
from tfrs_himirec.schema import raw

_REMEDY = "correct the item file"


def table(parts: Iterable[batches.Batch], path: pathlib.Path) -> pa.Table:
    """Builds the table of `schema.raw.items_schema` from an item file.

    An item without a title is called by its id.

    Raises:
      HimirecError: there are no items, a row is malformed, an id is missing, or an id
        stands twice.
    """
    checked = [part for part in parts if _check(part)]
    if not checked:
        raise errors.HimirecError(f"{path}: holds no items; {_REMEDY}")
    ids = _ids(checked)
    _refuse_duplicates(ids, checked)
    title = pa.chunked_array([_text(part, "title") for part in checked])
    text = pa.chunked_array([_text(part, "text") for part in checked])
    tags = pa.chunked_array([_tags(part) for part in checked])
    return _table(ids, title, text, tags)


def of_log(item_ids: pa.Array) -> pa.Table:
    """Makes items that have nothing but their id."""
    empty = pa.array([""] * len(item_ids))
    tags = pa.array([[]] * len(item_ids), pa.list_(pa.string()))
    return _table(item_ids, empty, empty, tags)


def _table(ids, title, text, tags) -> pa.Table:
    kind = "int64" if pa.types.is_integer(ids.type) else "string"
    title = pc.if_else(pc.equal(title, ""), ids.cast(pa.string()), title)
    return pa.table([ids, title, text, tags], schema=raw.items_schema(kind))


def _check(batch: batches.Batch) -> bool:
    """Whether the batch has rows; raises where one is malformed."""
    for problem in batch.broken:
        raise problem.error(_REMEDY)
    if not len(batch.rows):
        return False
    valid = cleaning.ids(batch.columns["item_id"]).is_valid()
    for place in np.flatnonzero(~valid.to_numpy(zero_copy_only=False)):
        raise batch.problem(int(place), "item_id", "an id").error(_REMEDY)
    return True


def _ids(parts: list[batches.Batch]) -> pa.ChunkedArray:
    columns = [part.columns["item_id"] for part in parts]
    integers = [
        cleaning.are_integers(column, part.untyped)
        for column, part in zip(columns, parts, strict=True)
    ]
    kind = raw.ID_TYPES["int64" if all(integers) else "string"]
    return pa.chunked_array([column.cast(kind) for column in columns])


def _refuse_duplicates(ids: pa.ChunkedArray, parts: list[batches.Batch]) -> None:
    values = ids.to_pandas()
    second = values.duplicated().to_numpy()
    if not second.any():
        return
    value = values[int(second.argmax())]
    first, again = (
        _place(int(place), parts) for place in np.flatnonzero(values == value)[:2]
    )
    raise errors.HimirecError(
        f"{again}: item id {value} stands already in {first}; ids are unique, "
        "remove one of the two rows"
    )


def _place(place: int, parts: list[batches.Batch]) -> str:
    """Names the file and row of a place in the joined parts."""
    for part in parts:
        if place < len(part.rows):
            return f"{part.path}: {part.unit} {part.rows[place]}"
        place -= len(part.rows)
    raise IndexError(place)


def _text(batch: batches.Batch, key: str) -> pa.Array:
    if key not in batch.columns:
        return pa.array([""] * len(batch.rows))
    column = batch.columns[key]
    try:
        return column.cast(pa.string()).fill_null("")
    except pa.ArrowException:
        raise errors.HimirecError(
            f"{batch.path}: column {batch.names[key]!r} is {column.type}; expected "
            f"text, convert the column or name another one with --{key}-column"
        ) from None


def _tags(batch: batches.Batch) -> pa.Array:
    """Lists of tags; text is split at "|"."""
    values = batch.columns.get("tags", pa.nulls(len(batch.rows))).to_pylist()
    return pa.array([_split(value) for value in values], pa.list_(pa.string()))


def _split(value: Any) -> list[str]:
    if value is None:
        return []
    tags = value if isinstance(value, list) else str(value).split("|")
    stripped = [str(tag).strip() for tag in tags if tag is not None]
    return [tag for tag in stripped if tag]
