"""Item vectors that the user brings."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_himirec import errors, files


def load(path: files.Path, item_ids: np.ndarray) -> np.ndarray:
    """Reads a Parquet file with `item_id` and `vector`, a list of floats.

    Args:
      path: the file.
      item_ids: `[items]`, the items that need a vector.

    Returns:
      float32 `[items, dim]`, as given.

    Raises:
      HimirecError: the file is missing or has other columns, an item has no vector,
        or the vectors differ in length.
    """
    try:
        table = pq.read_table(path, columns=["item_id", "vector"])
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise errors.HimirecError(
            f"{path}: not a Parquet file with item_id and vector ({error}); correct "
            "prepare.embedding.vectors"
        ) from None
    index = pd.Index(table["item_id"].to_pandas()).drop_duplicates()
    row = index.get_indexer(item_ids)
    if (row < 0).any():
        raise errors.HimirecError(
            f"{path}: {(row < 0).sum()} of {len(item_ids)} items have no vector, the "
            f"first is {item_ids[row < 0][0]}; add them or raise min_item_events"
        )
    vectors = table["vector"].to_pandas()
    first = ~table["item_id"].to_pandas().duplicated()
    vectors = vectors[first].to_numpy()[row]
    lengths = np.array([len(vector) for vector in vectors])
    if (lengths != lengths[0]).any():
        odd = int(np.flatnonzero(lengths != lengths[0])[0])
        raise errors.HimirecError(
            f"{path}: the vector of item {item_ids[odd]} has {lengths[odd]} numbers, "
            f"others have {lengths[0]}; all vectors must have the same length"
        )
    return np.stack(vectors).astype(np.float32)
