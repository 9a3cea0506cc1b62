"""Windowed Markov chain: transitions to the items of the next steps."""

import numpy as np
import scipy.sparse


class WindowedMarkov:
    """Item-to-item transitions within a window, weighted by recency at request time.

    `score(u, j) = sum_i decay^age(i) * count(i -> j) / sum_j count(i -> j)`, where
    `count` has the pairs at most `window` steps apart in training histories and `age`
    is 0 for the user's newest event.

    Args:
      items: size of the library.
      window: steps that count as a transition.
      decay: weight of an event relative to the next newer one.
      events: newest events of a history that are used.
    """

    def __init__(self, items: int, window: int, decay: float, events: int = 100):
        self.items = items
        self.window = window
        self.decay = decay
        self.events = events
        self.transitions = scipy.sparse.csr_matrix((items, items))

    def fit(self, histories: list[np.ndarray]) -> "WindowedMarkov":
        """Counts transitions of training users, one array of items each."""
        items = np.concatenate(histories)
        owner = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
        for step in range(1, self.window + 1):
            same = owner[step:] == owner[:-step]
            pair = (items[:-step][same], items[step:][same])
            weight = np.ones(len(pair[0]))
            self.transitions += scipy.sparse.csr_matrix(
                (weight, pair), (self.items, self.items)
            )
        total = np.maximum(np.asarray(self.transitions.sum(axis=1)).ravel(), 1)
        self.transitions = scipy.sparse.diags(1 / total) @ self.transitions
        return self

    def score(self, histories: list[np.ndarray]) -> np.ndarray:
        """Returns float64 `[users, items]`."""
        recent = [history[-self.events :] for history in histories]
        owner = np.repeat(np.arange(len(recent)), [len(h) for h in recent])
        age = np.concatenate([np.arange(len(h))[::-1] for h in recent])
        user = scipy.sparse.csr_matrix(
            (self.decay**age, (owner, np.concatenate(recent))),
            (len(recent), self.items),
        )
        return (user @ self.transitions).toarray()
