"""Where recall is lost: between circles, inside a circle, or in the merge.

Places are places in tree order. A target event weighs `1 / (users * targets of its
user)`, as in `metrics.per_user`, so that shares add up to the reported recall.
"""

import dataclasses
import itertools

import numpy as np

from tfrs_himirec.tree import circle_tree

NOWHERE = np.iinfo(np.int64).max
"""Rank of an event that was not retrieved."""

HISTORY_EDGES = (20, 50, 100, 200)
"""Longest histories of the groups by length, in events."""


@dataclasses.dataclass(frozen=True)
class Events:
    """The target events of all users, one entry each.

    Attributes:
      user: int64 `[events]`.
      place: int64 `[events]`.
      weight: float64 `[events]`, sums to 1.
      depth: int64 `[events]`, level of the deepest generated circle that holds the
        place; 0 = none.
      rank: int64 `[events]`, position in the user's list from 0, or `NOWHERE`.
      rank_in_circle: int64 `[events]`, position in the ranking of the generated circle
        that holds the place, or `NOWHERE`.
    """

    user: np.ndarray
    place: np.ndarray
    weight: np.ndarray
    depth: np.ndarray
    rank: np.ndarray
    rank_in_circle: np.ndarray


def diagnose(
    answer,
    targets: list[np.ndarray],
    histories: list[np.ndarray],
    tree: circle_tree.CircleTree,
    at: tuple[int, ...],
) -> dict:
    """Returns an entry of `diagnostics` in `evaluation.json`.

    Every figure is explained in `docs/evaluation.md`.

    Args:
      answer: `recommender.Recommendation` of all users, as arrays.
      targets: one array of places per user, at least one place each.
      histories: one array of places per user.
      tree: the tree that was searched.
      at: list lengths M.
    """
    events = events_of(answer, targets, tree)
    length = np.array([len(history) for history in histories])
    heavy = length > np.median(length)
    pairs = zip(targets, histories, strict=True)
    seen = np.concatenate([np.isin(wanted, past) for wanted, past in pairs])
    return {
        **losses(events, at),
        "seen_before": _share(events, seen),
        "median_history_length": float(np.median(length)),
        "by_leaf_size": _by_leaf_size(events, tree, at),
        "by_history_length": _by_edges(events, length[events.user], HISTORY_EDGES, at),
        "by_activity": by_group(events, ["light", "heavy"], heavy[events.user], at),
        "by_depth": by_group(
            events, [str(d) for d in range(tree.depth + 1)], events.depth, at
        ),
        **generated(answer.nodes, answer.probability, tree),
    }


def events_of(
    answer, targets: list[np.ndarray], tree: circle_tree.CircleTree
) -> Events:
    """Looks up every target event in the generated circles and in the lists."""
    count = np.array([len(places) for places in targets])
    user = np.repeat(np.arange(len(targets)), count)
    place = np.concatenate(targets)
    return Events(
        user=user,
        place=place,
        weight=1 / (len(targets) * count[user]),
        depth=_depth(place, answer.nodes[user], tree),
        rank=_ranks(targets, answer.places[:, None]),
        rank_in_circle=_ranks(targets, answer.candidates),
    )


def _depth(place, nodes, tree: circle_tree.CircleTree) -> np.ndarray:
    """int64 `[events]`: level of the deepest of `nodes` `[events, beams]`; 0 = none."""
    start, end = tree.start[nodes], tree.end[nodes]
    inside = (start <= place[:, None]) & (place[:, None] < end) & (nodes >= 0)
    return np.where(inside, tree.level[nodes], 0).max(axis=1)


def _ranks(targets: list[np.ndarray], lists: np.ndarray) -> np.ndarray:
    """int64 `[events]`: best position in lists `[users, n, results]` of the user."""
    ranks = []
    for places, rows in zip(targets, lists, strict=True):
        hit = (places[:, None, None] == rows).any(axis=1)  # [targets, results]
        ranks.append(np.where(hit.any(axis=1), hit.argmax(axis=1), NOWHERE))
    return np.concatenate(ranks)


def losses(events: Events, at: tuple[int, ...]) -> dict[str, float]:
    """Divides the target events by what became of them.

    `recall = ceiling * recall_in_right_circle + found_outside`, and `recall +
    lost_to_quota + lost_in_circle + lost_outside = 1`, at every M.

    Args:
      events: target events.
      at: list lengths M.

    Returns:
      `{"ceiling": float, "recall@20": float, ...}`, shares of target events.
    """
    inside = events.depth > 0
    ceiling = _share(events, inside)
    values = {"ceiling": ceiling}
    for m in at:
        found, candidate = events.rank < m, events.rank_in_circle < m
        right = _share(events, found & inside) / ceiling if ceiling else 0.0
        values[f"recall@{m}"] = _share(events, found)
        values[f"recall_in_right_circle@{m}"] = right
        values[f"found_outside@{m}"] = _share(events, found & ~inside)
        lost = inside & ~found
        values[f"lost_to_quota@{m}"] = _share(events, lost & candidate)
        values[f"lost_in_circle@{m}"] = _share(events, lost & ~candidate)
        values[f"lost_outside@{m}"] = _share(events, ~inside & ~found)
    return values


def _share(events: Events, chosen: np.ndarray, among=slice(None)) -> float:
    """Share of the events `among` that are chosen, bool `[events]`."""
    weight = events.weight[among]
    return float(weight[chosen[among]].sum() / weight.sum())


def by_group(
    events: Events, names: list[str], group: np.ndarray, at: tuple[int, ...]
) -> dict[str, dict[str, float]]:
    """Returns number of events, ceiling and recall of every group that has events.

    Args:
      events: target events.
      names: of the groups.
      group: int or bool `[events]`, index into `names`.
      at: list lengths M.

    Returns:
      `{name: {"events": int, "ceiling": float, "recall@20": float, ...}}`.
    """
    values = {}
    for number, name in enumerate(names):
        part = group == number
        if part.any():
            values[name] = {
                "events": int(part.sum()),
                "ceiling": _share(events, events.depth > 0, part),
            } | {f"recall@{m}": _share(events, events.rank < m, part) for m in at}
    return values


def _by_leaf_size(events: Events, tree: circle_tree.CircleTree, at) -> dict:
    """Groups by the size of the target's leaf circle, at the quartiles of leaves."""
    size = tree.end - tree.start
    edges = np.quantile(size[tree.leaves], (0.25, 0.5, 0.75), method="inverted_cdf")
    leaf = tree.leaf_of_place[events.place]
    return _by_edges(events, size[leaf], np.unique(edges), at)


def _by_edges(events: Events, value: np.ndarray, edges, at) -> dict:
    """Groups by value `[events]`: up to the first edge, up to the second, ... above."""
    names = [f"<={edges[0]}"]
    for low, high in itertools.pairwise(edges):
        names.append(f"{low + 1}-{high}" if low + 1 < high else f"{high}")
    names.append(f">{edges[-1]}")
    return by_group(events, names, np.searchsorted(edges, value), at)


def generated(
    nodes: np.ndarray, probability: np.ndarray, tree: circle_tree.CircleTree
) -> dict:
    """Describes the generated interests.

    Args:
      nodes: int32 `[users, beams]`, -1 = none.
      probability: float32 `[users, beams]`, 0 where there is none.
      tree: the circle tree.
    """
    exists = nodes >= 0
    count = np.bincount(tree.level[nodes[exists]], minlength=tree.depth + 1)
    share = count / max(count.sum(), 1)
    return {
        "generated_length": {str(d): float(share[d]) for d in range(1, len(share))},
        "interests_per_user": float(exists.sum(axis=1).mean()),
        "probability_by_rank": probability.mean(axis=0, dtype=float).tolist(),
    }
