"""What training users do: item counts and co-occurrence, one sparse matrix a shard."""

import pathlib

import apache_beam as beam
import numpy as np
import pandas as pd
import scipy.sparse

from beam_pipelines import shards
from tfrs_himirec.embeddings import behavior


class CountPairs(beam.DoFn):
    """Records item counts and co-occurrence of the training users of a shard.

    Args:
      items: Parquet file with the kept `item_id` in row order.
      users: Parquet file with `user_id` and `split`.
      directory: for the records.
      window: largest distance of a pair, in events; 0 counts items only.
    """

    def __init__(self, items: str, users: str, directory: str, window: int):
        self._items_path = items
        self._users_path = users
        self._directory = pathlib.Path(directory)
        self._window = window

    def setup(self):
        self._items = pd.Index(pd.read_parquet(self._items_path)["item_id"])
        users = pd.read_parquet(self._users_path)
        self._users = pd.Index(users.loc[users["split"] == "train", "user_id"])

    def process(self, element):
        number, path = element
        frame = pd.read_parquet(path)
        rows = self._items.get_indexer(frame["item_id"])
        kept = (rows >= 0) & frame["user_id"].isin(self._users).to_numpy()
        rows, owner = rows[kept], pd.factorize(frame["user_id"][kept])[0]
        items = len(self._items)
        pairs = behavior.cooccurrence(rows, owner, items, self._window)
        counts = np.bincount(rows, minlength=items)
        pairs = pairs.tocoo()
        shards.save_record(
            self._directory / f"pairs-{number:05d}.npz",
            counts=counts,
            weight=pairs.data,
            left=pairs.row,
            right=pairs.col,
        )


def totals(directory: pathlib.Path, items: int):
    """Returns item counts int64 `[items]` and co-occurrence `[items, items]`."""
    counts = np.zeros(items, np.int64)
    pairs = scipy.sparse.csr_matrix((items, items))
    for record in shards.records(directory):
        counts += record["counts"]
        index = (record["left"], record["right"])
        pairs += scipy.sparse.csr_matrix((record["weight"], index), pairs.shape)
    return counts, pairs
