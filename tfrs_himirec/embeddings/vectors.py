"""Item vectors that the user brings."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrs_himirec import errors, files


def load(path: files.Path, item_ids: np.ndarray) -> np.ndarray:
    """Reads a Parquet file with `item_id` and `vector`, a list of floats.

    Args:
      path: the file; items that are not asked for are ignored.
      item_ids: `[items]`, the items that need a vector.

    Returns:
      float32 `[items, dim]`, as given.

    Raises:
      HimirecError: the file is missing or has other columns, an item has no vector
        or two, or a vector has another length or holds a null or NaN.
    """
    table = _read(path)
    index = pd.Index(table["item_id"].to_pandas())
    if not index.is_unique:
        row = int(np.flatnonzero(index.duplicated())[0])
        raise errors.HimirecError(
            f"{path}: row {row + 1} names item_id {index[row]} again; keep one vector"
        )
    place = index.get_indexer(item_ids)
    missing = place < 0
    if missing.any():
        raise errors.HimirecError(
            f"{path}: {missing.sum()} of {len(item_ids)} items have no vector, the "
            f"first is item_id {item_ids[missing][0]}; add them, with ids of the same "
            "type, or raise prepare.min_item_events"
        )
    return _stack(path, table["vector"].combine_chunks())[place]


def _read(path: files.Path) -> pa.Table:
    try:
        table = pq.read_table(path, columns=["item_id", "vector"])
        return table.cast(
            pa.schema([table.schema.field(0), ("vector", pa.list_(pa.float32()))])
        )
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise errors.HimirecError(
            f"{path}: not a Parquet file with item_id and vector, a list of floats "
            f"({error}); correct prepare.embedding.vectors"
        ) from None


def _stack(path: files.Path, vectors: pa.ListArray) -> np.ndarray:
    """float32 `[rows, dim]`; names the first row that does not fit the first one."""
    lengths = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy()
    odd = np.flatnonzero((lengths != lengths[0]) | (lengths == 0))
    if len(odd):
        raise errors.HimirecError(
            f"{path}: row {odd[0] + 1} has {lengths[odd[0]]} numbers, row 1 has "
            f"{lengths[0]}; all vectors must have the same length"
        )
    values = pc.list_flatten(vectors).to_numpy(zero_copy_only=False)
    stacked = values.astype(np.float32).reshape(len(vectors), -1)
    broken = np.flatnonzero(~np.isfinite(stacked).all(axis=1))
    if len(broken):
        raise errors.HimirecError(
            f"{path}: row {broken[0] + 1} holds a number that is missing or not "
            "finite; correct it"
        )
    return stacked
