"""Bootstrap over users (Efron and Tibshirani, 1993, chapter 16)."""

import numpy as np


def paired_p_value(difference: np.ndarray, samples: int, seed: int = 0) -> float:
    """Returns the two-sided p-value of a mean difference being zero.

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
    return two_sided(means)


def two_sided(differences: np.ndarray) -> float:
    """Returns twice the share of samples on the other side of zero.

    Args:
      differences: float `[samples]`, bootstrapped.

    Returns:
      A p-value of at least `1 / samples`.
    """
    other_side = min((differences <= 0).mean(), (differences >= 0).mean())
    return float(min(1.0, max(2 * other_side, 1 / len(differences))))
