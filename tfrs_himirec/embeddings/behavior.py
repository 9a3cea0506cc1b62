"""Item vectors from behaviour: PPMI of co-occurrence and a truncated SVD."""

import numpy as np
import scipy.sparse

from tfrs_himirec.embeddings import text


def cooccurrence(rows: np.ndarray, owner: np.ndarray, items: int, window: int):
    """Counts pairs of one user at most `window` events apart, weighted 1/distance.

    Weights are multiples of 2^-20: their sums are exact, so the result does not depend
    on the order in which shards are added.

    Args:
      rows: int64 `[events]`, item rows, each user's events together in time order.
      owner: `[events]`, the user of each event.
      items: size of the vocabulary.
      window: largest distance.

    Returns:
      Symmetric sparse float64 `[items, items]`.
    """
    total = scipy.sparse.csr_matrix((items, items))
    for step in range(1, window + 1):
        same = owner[step:] == owner[:-step]
        pair = (rows[:-step][same], rows[step:][same])
        weight = np.full(same.sum(), round(2**20 / step) / 2**20)
        total = total + scipy.sparse.csr_matrix((weight, pair), (items, items))
    return total + total.T


def embed(counts, dim: int) -> np.ndarray:
    """Returns unit vectors float32 `[items, dim]`, zero for items without pairs."""
    mass = np.asarray(counts.sum(axis=1)).ravel()
    pairs = counts.tocoo()
    expected = mass[pairs.row] * mass[pairs.col]
    value = np.log(pairs.data * mass.sum() / expected)
    kept = value > 0
    index = (pairs.row[kept], pairs.col[kept])
    return text.reduce(scipy.sparse.csr_matrix((value[kept], index), counts.shape), dim)
