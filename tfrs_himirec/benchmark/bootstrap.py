"""Paired bootstrap over users."""

import numpy as np


def p_value(difference: np.ndarray, samples: int, seed: int = 0) -> float:
    """Returns the two-sided p-value of a mean difference being zero.

    Users are drawn with replacement (Efron and Tibshirani, 1993, chapter 16); the
    p-value is twice the share of samples whose mean lies on the other side of zero, at
    least `1 / samples`.

    Args:
      difference: float `[users]`, one model's metric minus the other's.
      samples: bootstrap samples.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    users = len(difference)
    means = np.empty(samples)
    for start in range(0, samples, 256):
        size = min(256, samples - start)
        drawn = rng.integers(0, users, (size, users))
        means[start : start + size] = difference[drawn].mean(axis=1)
    other_side = min((means <= 0).mean(), (means >= 0).mean())
    return float(min(1.0, max(2 * other_side, 1 / samples)))
