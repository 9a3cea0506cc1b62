"""ItemKNN: cosine similarity of items, nearest neighbours only."""

import numpy as np
import scipy.sparse

from tfrs_himirec.baselines import ease


class ItemKnn:
    """Scores an item by its similarity to the items of the history.

    `sim(i, j) = n_ij / (sqrt(n_i n_j) + shrink)`, kept for the `neighbors` most
    similar items of each item (Deshpande and Karypis, 2004).

    Args:
      items: size of the library.
      neighbors: similarities kept for each item.
      shrink: lowers similarities that rest on few users.
    """

    def __init__(self, items: int, neighbors: int, shrink: float):
        self.items = items
        self.neighbors = neighbors
        self.shrink = shrink
        self.similarity = scipy.sparse.csr_matrix((items, items))

    def fit(self, histories: list[np.ndarray]) -> "ItemKnn":
        """Computes similarities from training users, one array of items each."""
        users = ease.incidence(histories, self.items, 1.0)
        common = (users.T @ users).tocsr()
        norm = np.sqrt(common.diagonal())
        pairs = common.tocoo()
        value = pairs.data / (norm[pairs.row] * norm[pairs.col] + self.shrink)
        value[pairs.row == pairs.col] = 0
        index = (pairs.row, pairs.col)
        similarity = scipy.sparse.csr_matrix((value, index), common.shape)
        similarity.eliminate_zeros()
        self.similarity = self._nearest(similarity)
        return self

    def _nearest(self, similarity: scipy.sparse.csr_matrix):
        """Keeps the largest values of every row."""
        rank = np.empty(similarity.nnz, np.int64)
        for row in range(self.items):
            part = slice(similarity.indptr[row], similarity.indptr[row + 1])
            order = np.argsort(-similarity.data[part], kind="stable")
            rank[part][order] = np.arange(len(order))
        similarity.data[rank >= self.neighbors] = 0
        similarity.eliminate_zeros()
        return similarity

    def score(self, histories: list[np.ndarray]) -> np.ndarray:
        """Returns float64 `[users, items]`."""
        users = ease.incidence(histories, self.items, 1.0)
        return (users @ self.similarity.T).toarray()
