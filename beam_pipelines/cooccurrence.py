"""What training users do: item counts and co-occurrence, one sparse matrix a shard."""

import pathlib

import apache_beam as beam
import numpy as np
import pandas as pd
import scipy.sparse

from beam_pipelines import shards
from tfrs_himirec import files
from tfrs_himirec.embeddings import behavior


class CountPairs(beam.DoFn):
    """Counts the items and pairs of the training users of a shard.

    Args:
      items: Parquet file with the kept `item_id` in row order.
      users: Parquet file with `user_id` and `split`.
      window: largest distance of a pair, in events; 0 counts items only.
    """

    def __init__(self, items: str, users: str, window: int):
        self._items_path = items
        self._users_path = users
        self._window = window

    def setup(self):
        self._items = pd.Index(pd.read_parquet(self._items_path)["item_id"])
        users = pd.read_parquet(self._users_path)
        self._users = pd.Index(users.loc[users["split"] == "train", "user_id"])

    def process(self, element):
        frame = pd.read_parquet(element[1], columns=["user_id", "item_id"])
        rows = self._items.get_indexer(frame["item_id"])
        kept = (rows >= 0) & frame["user_id"].isin(self._users).to_numpy()
        rows, owner = rows[kept], pd.factorize(frame["user_id"][kept])[0]
        items = len(self._items)
        counts = np.bincount(rows, minlength=items)
        yield counts, behavior.cooccurrence(rows, owner, items, self._window)


class Sum(beam.CombineFn):
    """Adds counts and matrices of shards; `items` is the size of the vocabulary."""

    def __init__(self, items: int):
        super().__init__()
        self._items = items

    def create_accumulator(self):
        empty = scipy.sparse.csr_matrix((self._items, self._items))
        return np.zeros(self._items, np.int64), empty

    def add_input(self, mutable_accumulator, element):
        counts, pairs = mutable_accumulator
        return counts + element[0], pairs + element[1]

    def merge_accumulators(self, accumulators):
        first, *others = accumulators
        for other in others:
            first = self.add_input(first, other)
        return first

    def extract_output(self, accumulator):
        return accumulator


class Save(beam.DoFn):
    """Writes the sum where the driver reads it."""

    def __init__(self, path: str):
        self._path = pathlib.Path(path)

    def process(self, element):
        counts, pairs = element
        pairs = scipy.sparse.csr_matrix(pairs)
        with files.atomic_file(self._path) as temporary, open(temporary, "wb") as out:
            np.savez(
                out,
                counts=counts,
                data=pairs.data,
                indices=pairs.indices,
                indptr=pairs.indptr,
            )


def run(clean: list[pathlib.Path], work: pathlib.Path, window: int, options):
    """Counts over all clean shards; `work` holds `items.parquet`, `users.parquet`.

    Returns:
      Item counts int64 `[items]` and the sparse co-occurrence `[items, items]`.
    """
    paths = [work / name for name in ("items.parquet", "users.parquet", "pairs.npz")]
    items = len(pd.read_parquet(paths[0]))
    count = CountPairs(str(paths[0]), str(paths[1]), window)
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "Shards" >> shards.Spread(clean)
            | "Count pairs" >> beam.ParDo(count)
            | "Sum" >> beam.CombineGlobally(Sum(items))
            | "Save" >> beam.ParDo(Save(str(paths[2])))
        )
    with np.load(paths[2]) as total:
        parts = (total["data"], total["indices"], total["indptr"])
        return total["counts"], scipy.sparse.csr_matrix(parts, (items, items))
