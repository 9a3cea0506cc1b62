"""Comparison of two logs of served results: the ingredients of the paper's table 4."""

import dataclasses

import numpy as np
import pandas as pd
import tqdm

from tfrs_himirec import errors
from tfrs_himirec.evaluation import bootstrap, served_logs

Table = dict[str, tuple[np.ndarray, np.ndarray]]
_DAY = 86_400
_COUNTS = 1 << 23  # 64 MB of them at a time, however many users


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One metric of both arms; NaN is a number that the logs do not define.

    Attributes:
      metric: a key of `user_table`.
      control: its value in the control arm.
      treatment: its value in the other arm.
      lift_percent: 100 (treatment / control - 1).
      low_percent: lower end of the lift's interval.
      high_percent: upper end of it.
      p_value: two-sided, of no difference.
    """

    metric: str
    control: float
    treatment: float
    lift_percent: float
    low_percent: float
    high_percent: float
    p_value: float


def user_table(log: pd.DataFrame) -> Table:
    """Returns every metric as a ratio of sums over users.

    * `impressions`, `OUTCOME_per_user`: means over users
    * `OUTCOME_rate`: sum of the outcome / impressions, both over all users: a ratio of
      sums and not a mean of the users' ratios, which would favour users with few rows
    * `active_days`: distinct UTC days with a request, the paper's user activity
    * `retention`: share of users who are seen again on a later day
    * `unique_items`: distinct items that a user consumed (first outcome > 0)
    * `diversity`: those per interaction, mean over users who consumed anything: the
      paper's ratio-based diversity

    Args:
      log: from `served_logs.read`; the first outcome column says what was consumed.

    Returns:
      `{metric: (numerator, denominator)}`, float `[users]` each.
    """
    outcomes = [str(name) for name in log if name not in served_logs.COLUMNS]
    users = log.groupby("user_id", sort=False)
    shown = users.size().to_numpy(float)
    one = np.ones(len(shown))
    table: Table = {"impressions": (shown, one)}
    for name in outcomes:
        total = users[name].sum().to_numpy(float)
        table[f"{name}_per_user"] = (total, one)
        table[f"{name}_rate"] = (total, shown)
    day = log["timestamp"] // _DAY
    days = day.groupby(log["user_id"], sort=False).nunique().to_numpy(float)
    table["active_days"] = (days, one)
    table["retention"] = ((days > 1).astype(float), one)
    kept = log["item_id"].where(log[outcomes[0]] > 0)
    consumed = kept.groupby(log["user_id"], sort=False)
    unique = consumed.nunique().to_numpy(float)
    events = consumed.count().to_numpy(float)
    table["unique_items"] = (unique, one)
    ratio = np.divide(unique, events, out=np.zeros_like(unique), where=events > 0)
    table["diversity"] = (ratio, (events > 0).astype(float))
    return table


def compare(
    control: pd.DataFrame,
    treatment: pd.DataFrame,
    confidence: float = 0.95,
    samples: int = 2000,
    seed: int = 7,
    allow_overlap: bool = False,
) -> list[Comparison]:
    """Compares two arms by a bootstrap over users, who are the unit of assignment.

    Args:
      control: log of the control arm, from `served_logs.read`.
      treatment: log of the other arm, with the same outcome columns.
      confidence: of the interval of the lift.
      samples: bootstrap samples.
      seed: of the draws.
      allow_overlap: a user of both logs counts as two users, one in each arm.

    Raises:
      HimirecError: the arms have different outcomes, or a user is in both.
    """
    if list(control) != list(treatment):
        raise errors.HimirecError(
            f"the logs have different outcomes: {[*control][3:]} and "
            f"{[*treatment][3:]}; name common ones with --outcomes"
        )
    if not allow_overlap:
        _refuse_overlap(control, treatment)
    rng = np.random.default_rng(seed)
    tables = [user_table(log) for log in (control, treatment)]
    arms = [_stacked(table) for table in tables]
    # A metric over nothing is NaN, a lift over zero is NaN or infinite.
    with np.errstate(divide="ignore", invalid="ignore"):
        before, after = (_values(np.ones(len(sums[0])), sums) for sums in arms)
        drawn, others = (_resampled(sums, samples, rng) for sums in arms)
        metrics = zip(tables[0], before, after, drawn.T, others.T, strict=True)
        return [_comparison(*metric, confidence) for metric in metrics]


def _refuse_overlap(control: pd.DataFrame, treatment: pd.DataFrame) -> None:
    both = set(control["user_id"]) & set(treatment["user_id"])
    if both:
        raise errors.HimirecError(
            f"user {min(both)!r} is in both logs (users in both: {len(both)}); remove "
            "those who were not kept in one arm, or pass --allow-overlap"
        )


def _values(counts: np.ndarray, sums: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Every metric when users are taken `counts` times.

    Args:
      counts: float `[samples, users]` or `[users]`.
      sums: from `_stacked`.

    Returns:
      float `[samples, metrics]` or `[metrics]`.
    """
    return (counts @ sums[0]) / (counts @ sums[1])


def _stacked(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators, float `[users, metrics]` each."""
    above, below = zip(*table.values(), strict=True)
    return np.stack(above, axis=1), np.stack(below, axis=1)


def _resampled(sums, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Every metric of bootstrap samples of the users: float `[samples, metrics]`."""
    users = len(sums[0])
    size = max(1, _COUNTS // users)
    found = []
    for start in tqdm.trange(0, samples, size, desc="bootstrap", disable=None):
        counts = np.empty((min(size, samples - start), users))
        for row in counts:
            row[:] = np.bincount(rng.integers(0, users, users), minlength=users)
        found.append(_values(counts, sums))
    return np.concatenate(found)


def _comparison(name, before, after, drawn, others, confidence) -> Comparison:
    tail = (1 - confidence) / 2
    low, high = np.quantile(100 * (others / drawn - 1), [tail, 1 - tail])
    # Equal means may differ in their last bits, in every sample to the same side.
    difference = np.where(np.isclose(others, drawn, 1e-12, 0), 0, others - drawn)
    known = np.isfinite(difference).all()
    return Comparison(
        name,
        control=float(before),
        treatment=float(after),
        lift_percent=float(100 * (after / before - 1)),
        low_percent=float(low),
        high_percent=float(high),
        p_value=bootstrap.two_sided(difference) if known else float("nan"),
    )
