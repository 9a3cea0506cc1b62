"""Rows of a benchmark: what was measured for one model on one split."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from tfrs_himirec import config, files
from tfrs_himirec.benchmark import cells, contenders
from tfrs_himirec.evaluation import evaluate, users

SEEN = {"excluded": True, "kept": False}


@dataclasses.dataclass(frozen=True)
class Row:
    """One model on one protocol and seed.

    Attributes:
      model: its name.
      beams: of HimiRec; None for others.
      merge: of HimiRec.
      variant: what was changed; "" for nothing.
      setting: what tuning chose.
      parameters: stored numbers.
      train_seconds: of all that was trained for it.
      events_per_second: training events read in a second, every epoch counted.
      per_user: `{"excluded": {"recall@20": float64 [users], ...}, "kept": ...}`.
      of_lists: the same nesting, single numbers: coverage and diversity.
    """

    model: str
    beams: int | None
    merge: str | None
    variant: str
    setting: dict[str, Any]
    parameters: int
    train_seconds: float
    events_per_second: float
    per_user: dict[str, dict[str, np.ndarray]]
    of_lists: dict[str, dict[str, float]]

    @property
    def key(self) -> str:
        """Names the row inside its cell."""
        parts = [self.model, self.variant, self.merge]
        parts.append(f"{self.beams}beams" if self.beams else None)
        return "-".join(part for part in parts if part)

    def save(self, folder: pathlib.Path) -> None:
        """Writes `KEY.npz`, then `KEY.json`: with the latter the row is complete."""
        arrays = {
            f"{seen}/{metric}": values
            for seen, found in self.per_user.items()
            for metric, values in found.items()
        }
        path = folder / f"{self.key}.npz"
        with files.atomic_file(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "per_user"
        }
        files.write_json(folder / f"{self.key}.json", values)


def load(path: pathlib.Path) -> Row:
    """Reads the row of a `KEY.json`."""
    values = files.read_json(path, "remove it")
    per_user: dict[str, dict[str, np.ndarray]] = {seen: {} for seen in SEEN}
    with np.load(path.with_suffix(".npz")) as arrays:
        for name in arrays:
            seen, metric = name.split("/")
            per_user[seen][metric] = arrays[name]
    return Row(per_user=per_user, **values)


def measure(lists, cell: cells.Cell, fitted: contenders.Fitted, **identity) -> Row:
    """Measures lists on the test users, seen items excluded and kept.

    Args:
      lists: maps users and whether seen items are excluded to int `[users, results]`
        vocabulary rows.
      cell: the split.
      fitted: what the model took.
      identity: `model`, `setting`, and for HimiRec `beams`, `merge` and `variant`.
    """
    test = users.load(cell.run_dir, "test")
    at = cell.run.evaluate.at
    per_user, of_lists = {}, {}
    for seen, exclude in SEEN.items():
        per_user[seen], of_lists[seen] = evaluate.measure(
            lists(test, exclude), test, cell.prepared, at
        )
    return Row(
        parameters=int(fitted.parameters),
        train_seconds=round(fitted.seconds, 1),
        events_per_second=round(fitted.events_per_second),
        per_user=per_user,
        of_lists=of_lists,
        **{"beams": None, "merge": None, "variant": ""} | identity,
    )


def of_contender(name: str, cell: cells.Cell, setting: dict[str, Any]) -> Row:
    """Fits a baseline and measures it."""
    fitted = contenders.fit(name, cell, setting)
    options: config.Evaluate = cell.run.evaluate

    def lists(test: users.Users, exclude: bool) -> np.ndarray:
        longest = max(options.at)
        return users.baseline_lists(
            fitted.model, test, longest, exclude, options.batch_size
        )

    return measure(lists, cell, fitted, model=name, setting=setting)
