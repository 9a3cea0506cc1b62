"""EASE: a closed-form linear item-item model (Steck, 2019)."""

import numpy as np
import scipy.sparse


class Ease:
    """Embarrassingly shallow autoencoder, optionally weighted by recency.

    `B = I - P / diag(P)` with `P = (X'X + regularization I)^-1`; the score of a user is
    `x B`, where `x` has 1, or `decay^age`, for each item of the history. With
    `decay < 1` an item of the history counts by its newest event.

    The inverse is dense: memory is 8 bytes times the square of the items.

    Args:
      items: size of the library.
      regularization: the ridge term.
      decay: weight of an event relative to the next newer one; 1 ignores order.
    """

    def __init__(self, items: int, regularization: float, decay: float = 1.0):
        self.items = items
        self.regularization = regularization
        self.decay = decay
        self.weights = np.zeros((items, items))

    def fit(self, histories: list[np.ndarray]) -> "Ease":
        """Solves for the weights from training users, one array of items each."""
        users = incidence(histories, self.items, 1.0)
        gram = (users.T @ users).toarray()
        gram[np.diag_indices(self.items)] += self.regularization
        inverse = np.linalg.inv(gram)
        self.weights = -inverse / np.diag(inverse)
        self.weights[np.diag_indices(self.items)] = 0
        return self

    def score(self, histories: list[np.ndarray]) -> np.ndarray:
        """Returns float64 `[users, items]`."""
        return incidence(histories, self.items, self.decay) @ self.weights


def incidence(
    histories: list[np.ndarray], items: int, decay: float
) -> scipy.sparse.csr_matrix:
    """Returns sparse `[users, items]`: `decay^age` of the newest event of an item."""
    rows, columns, values = [], [], []
    for user, history in enumerate(histories):
        newest_first = np.asarray(history)[::-1]
        item, age = np.unique(newest_first, return_index=True)
        rows.append(np.full(len(item), user))
        columns.append(item)
        values.append(decay**age)
    index = (np.concatenate(rows), np.concatenate(columns))
    shape = (len(histories), items)
    return scipy.sparse.csr_matrix((np.concatenate(values), index), shape)
