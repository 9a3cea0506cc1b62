"""Most popular: the same ranking for everybody."""

import numpy as np


class MostPopular:
    """Ranks items by their number of training events.

    Args:
      items: size of the library.
    """

    def __init__(self, items: int):
        self.items = items
        self.counts = np.zeros(items)

    def fit(self, histories: list[np.ndarray]) -> "MostPopular":
        """Counts the events of training users, one array of items each."""
        for history in histories:
            self.counts += np.bincount(history, minlength=self.items)
        return self

    def score(self, histories: list[np.ndarray]) -> np.ndarray:
        """Returns float64 `[users, items]`."""
        return np.repeat(self.counts[None], len(histories), axis=0)
