"""Comparison of two logs of served results: the ingredients of the paper's table 4."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import tqdm

from tfrs_himirec import errors, files
from tfrs_himirec.evaluation import bootstrap

COLUMNS = ("user_id", "item_id", "timestamp")
Table = dict[str, tuple[np.ndarray, np.ndarray]]
_DAY = 86_400
_READERS: dict[str, Callable[[files.Path], pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".parquet": pd.read_parquet,
    ".jsonl": lambda path: pd.read_json(path, lines=True),
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One metric of both arms; `lift` and its interval are relative to control."""

    metric: str
    control: float
    treatment: float
    lift: float
    low: float
    high: float
    p_value: float


def read(path: files.Path, outcomes: Sequence[str] | None = None) -> pd.DataFrame:
    """Reads a log of served results, one row per shown item.

    Args:
      path: CSV, JSONL or Parquet with `user_id`, `item_id`, `timestamp` (Unix seconds)
        and outcome columns (numbers or booleans, >= 0).
      outcomes: the outcome columns; all other columns by default.

    Returns:
      The required columns, then float outcome columns.

    Raises:
      HimirecError: the file cannot be read or is empty, a column is missing, or a
        value is malformed; the message names column and row.
    """
    path = pathlib.Path(path)
    log = _load(path)
    others = [str(name) for name in log if name not in COLUMNS]
    chosen = [*outcomes] if outcomes else others
    missing = [name for name in (*COLUMNS, *chosen) if name not in log]
    if missing or not chosen:
        wanted = f"column {missing[0]!r}" if missing else "an outcome column"
        found = ", ".join(map(str, log.columns))
        raise errors.HimirecError(f"{path}: {wanted} is missing (found {found})")
    if log.empty:
        raise errors.HimirecError(f"{path}: no rows; give a log with served results")
    log = log[[*COLUMNS, *chosen]].copy()
    for name in COLUMNS[:2]:
        _refuse(path, name, log[name].isna(), log[name], "an id")
    for name in ("timestamp", *chosen):
        number = pd.to_numeric(log[name], errors="coerce").astype(float)
        bad = ~(np.isfinite(number) & (number >= 0))
        _refuse(path, name, bad, log[name], "a number >= 0")
        log[name] = number
    return log


def _load(path: pathlib.Path) -> pd.DataFrame:
    if path.suffix not in _READERS:
        raise errors.HimirecError(
            f"{path}: unknown kind of file; known are {', '.join(_READERS)}"
        )
    try:
        return _READERS[path.suffix](path)
    except FileNotFoundError:
        raise errors.HimirecError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:  # also pandas' and Arrow's own errors
        line = " ".join(str(error).split())
        raise errors.HimirecError(f"{path}: not readable: {line}") from None


def _refuse(path, name: str, bad, values: pd.Series, expected: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise errors.HimirecError(
            f"{path}: row {row + 1}, column {name!r}: expected {expected}, received "
            f"{values.iloc[row]!r}; correct or remove the row"
        )


def user_table(log: pd.DataFrame) -> Table:
    """Returns every metric as a ratio of sums over users.

    * `impressions`, `OUTCOME_per_user`: means over users
    * `OUTCOME_rate`: outcome per impression, a ratio of sums
    * `active_days`: distinct UTC days with a request, the paper's user activity
    * `retention`: share of users who are seen again on a later day
    * `unique_items`: distinct items that a user consumed (first outcome > 0)
    * `diversity`: those per interaction, mean over users who consumed anything: the
      paper's ratio-based diversity

    Args:
      log: from `read`; the first outcome column says what was consumed.

    Returns:
      `{metric: (numerator, denominator)}`, float `[users]` each.
    """
    outcomes = [str(name) for name in log if name not in COLUMNS]
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
) -> list[Comparison]:
    """Compares two arms by a bootstrap over users, who are the unit of assignment.

    Args:
      control: log of the control arm, from `read`.
      treatment: log of the other arm, with the same outcome columns.
      confidence: of the interval of the lift.
      samples: bootstrap samples.
      seed: of the draws.

    Raises:
      HimirecError: the arms have different outcomes, or a user is in both.
    """
    if list(control) != list(treatment):
        raise errors.HimirecError(
            f"the logs have different outcomes: {[*control][3:]} and "
            f"{[*treatment][3:]}; name common ones with --outcomes"
        )
    both = set(control["user_id"]) & set(treatment["user_id"])
    if both:
        raise errors.HimirecError(
            f"user {min(both, key=str)!r} and {len(both) - 1} others are in both logs; "
            "remove users who were not kept in one arm"
        )
    rng = np.random.default_rng(seed)
    first, second = user_table(control), user_table(treatment)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = [_resampled(arm, samples, rng) for arm in (first, second)]
        return [
            _comparison(n, first[n], second[n], drawn[0][n], drawn[1][n], confidence)
            for n in first
        ]


def _resampled(table: Table, samples: int, rng) -> dict[str, np.ndarray]:
    """Every metric of `samples` bootstrap samples of the users."""
    users = len(next(iter(table.values()))[0])
    found = {name: np.empty(samples) for name in table}
    for i in tqdm.trange(samples, desc="bootstrap", disable=None):
        count = np.bincount(rng.integers(0, users, users), minlength=users)
        for name, (above, below) in table.items():
            found[name][i] = (count @ above) / (count @ below)
    return found


def _comparison(name, first, second, drawn, others, confidence) -> Comparison:
    before, after = (above.sum() / below.sum() for above, below in (first, second))
    lifts = others / drawn - 1
    tail = (1 - confidence) / 2
    low, high = np.quantile(lifts, [tail, 1 - tail])
    return Comparison(
        name,
        control=float(before),
        treatment=float(after),
        lift=float(after / before - 1),
        low=float(low),
        high=float(high),
        p_value=bootstrap.two_sided(others - drawn),
    )
