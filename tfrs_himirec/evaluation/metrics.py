"""Retrieval metrics of one list per user; the same code for every model."""

import numpy as np


def hits(lists: np.ndarray, targets: list[np.ndarray]) -> np.ndarray:
    """Marks which places of the lists are targets of their user.

    Args:
      lists: int `[users, results]`, distinct items, best first; -1 = none.
      targets: one array of items per user.

    Returns:
      bool `[users, results]`.
    """
    pairs = zip(lists, targets, strict=True)
    marked = [np.isin(items, wanted) & (items >= 0) for items, wanted in pairs]
    return np.array(marked).reshape(lists.shape)


def per_user(
    lists: np.ndarray, targets: list[np.ndarray], at: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Returns Recall@M, HitRate@M and NDCG@M of every user.

    `Recall@M` is the share of the user's N target events whose item is among the
    first M of the list (paper, section 3; ComiRec, section 4.1); `HitRate@M` is 1
    when there is any; `NDCG@M` has binary relevance over distinct targets.

    Args:
      lists: int `[users, results]`, distinct items, best first; -1 = none.
      targets: one array of items per user, at least one item each.
      at: list lengths M, none above `results`.

    Returns:
      `{"recall@20": float64 [users], ...}`.
    """
    found = hits(lists, targets)
    discount = 1 / np.log2(np.arange(2, lists.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    distinct = np.array([len(np.unique(wanted)) for wanted in targets])
    values = {}
    for m in at:
        top = lists[:, :m]
        events = [np.isin(w, t).mean() for w, t in zip(targets, top, strict=True)]
        values[f"recall@{m}"] = np.array(events)
        values[f"hit_rate@{m}"] = found[:, :m].any(axis=1).astype(float)
        gain = (found[:, :m] * discount[:m]).sum(axis=1)
        values[f"ndcg@{m}"] = gain / ideal[np.minimum(distinct, m)]
    return values


def of_lists(
    lists: np.ndarray, items: int, leaf_of_place: np.ndarray, at: tuple[int, ...]
) -> dict[str, float]:
    """Returns coverage and circle diversity, which need no targets.

    `coverage@M`: share of the library that anybody is shown. `circle_diversity@M`:
    mean share of pairs in a list that come from different leaf circles.

    Args:
      lists: int `[users, results]`, places in tree order; -1 = none.
      items: size of the library.
      leaf_of_place: int `[items]`, leaf circle of each place.
      at: list lengths M.
    """
    values = {}
    for m in at:
        top = lists[:, :m]
        shown = np.unique(top[top >= 0])
        values[f"coverage@{m}"] = len(shown) / items
        diversity = [_different_pairs(leaf_of_place[row[row >= 0]]) for row in top]
        values[f"circle_diversity@{m}"] = float(np.mean(diversity))
    return values


def _different_pairs(labels: np.ndarray) -> float:
    if len(labels) < 2:
        return 0.0
    count = np.unique(labels, return_counts=True)[1]
    pairs = len(labels) * (len(labels) - 1)
    return 1 - float((count * (count - 1)).sum() / pairs)
