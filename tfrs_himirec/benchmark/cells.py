"""Cells of a benchmark: one split of the data, with everything trained on it."""

import dataclasses
import functools
import os
import pathlib
import shutil

from tfrs_himirec import config, files, pipeline
from tfrs_himirec.evaluation import users
from tfrs_himirec.training import artefacts, loop, train

_TRAIN = {
    "encoder": train.train_encoder,
    "generator": train.train_generator,
    "towers": train.train_towers,
}
_NOT_LINKED = (".stages", ".lock", "training", "models", "checkpoints")
_OF_THE_TREE = ("catalog", "tree", "sequences", "histories", "manifest.json")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One protocol and seed of a benchmark.

    Attributes:
      run: settings, with the protocol and the seed everywhere.
      folder: of this cell; `folder/run` is its run directory.
      origin: the cell that a variant was linked from.
    """

    run: config.Run
    folder: pathlib.Path
    origin: "Cell | None" = None

    @classmethod
    def of(
        cls, run: config.Run, work_dir: pathlib.Path, protocol: str, seed: int
    ) -> "Cell":
        values = run.model_dump()
        values["prepare"] |= {"protocol": protocol, "seed": seed}
        values["prepare"]["tree"]["seed"] = seed
        for section in ("encoder", "generator", "towers"):
            values[section]["seed"] = seed
        folder = work_dir / f"{protocol}-{seed}"
        values["run_dir"] = str(folder / "run")
        return cls(config.Run.model_validate(values), folder)

    @property
    def run_dir(self) -> pathlib.Path:
        return self.folder / "run"

    def prepare(self) -> None:
        """Imports and prepares, unless that has been done."""
        self._pipeline.import_()
        self._pipeline.prepare()

    @property
    def _pipeline(self) -> pipeline.Pipeline:
        return pipeline.Pipeline(self.run, self.run_dir)

    @functools.cached_property
    def prepared(self) -> artefacts.Prepared:
        return artefacts.Prepared(self.run_dir)

    @functools.cached_property
    def training(self) -> list:
        """Histories of the training users."""
        return users.load(self.run_dir, "train").histories

    @property
    def training_events(self) -> int:
        return sum(len(history) for history in self.training)

    def variant(self, name: str, **sections: dict) -> "Cell":
        """Returns a cell of its own with other settings.

        It starts from the files of this one that do not depend on what has changed;
        they are linked, not copied.
        """
        values = self.run.model_dump()
        for section, changes in sections.items():
            values[section] = _merged(values[section], changes)
        digest = files.fingerprint([values, self._fingerprints()])
        folder = self.folder / "variants" / f"{name}-{digest}"
        values["run_dir"] = str(folder / "run")
        changed = Cell(config.Run.model_validate(values), folder, origin=self)
        if not folder.exists():
            self._link(changed)
        return changed

    def _link(self, other: "Cell") -> None:
        temporary = other.folder.with_name(f".{other.folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        same_tree = other.run.prepare == self.run.prepare
        unneeded = _NOT_LINKED + (() if same_tree else _OF_THE_TREE)
        shutil.copytree(
            self.run_dir,
            temporary / "run",
            copy_function=os.link,
            ignore=shutil.ignore_patterns(*unneeded),
        )
        for model in _unchanged(self.run, other.run, same_tree):
            path = artefacts.weights_path(temporary / "run", model)
            path.parent.mkdir(exist_ok=True)
            os.link(artefacts.weights_path(self.run_dir, model), path)
        temporary.rename(other.folder)
        if not same_tree:
            pipeline.Pipeline(other.run, other.run_dir).prepare()

    def train(self, *models: str) -> None:
        """Trains those of "encoder", "generator" and "towers" that are missing."""
        for model in models:
            if not self.origin:
                getattr(self._pipeline, f"train_{model}")()
            elif not artefacts.weights_path(self.run_dir, model).exists():
                _TRAIN[model](self.run, self.run_dir)

    def _fingerprints(self) -> list[str]:
        """Digests of the trained models that a variant may start from."""
        paths = [artefacts.weights_path(self.run_dir, model) for model in _TRAIN]
        return [files.sha256(path) for path in paths if path.exists()]

    def training_record(self, *models: str) -> tuple[float, int]:
        """Returns seconds and epochs that the training of these models took."""
        found = [self._record(model) for model in models]
        return sum(r[-1]["seconds"] for r in found), sum(len(r) for r in found)

    def _record(self, model: str) -> list[dict]:
        """The newest training of a model, a variant's origin's if it has none."""
        logs = (self.run_dir / "training" / model).glob("*/metrics.jsonl")
        newest = sorted(logs, key=lambda path: path.stat().st_mtime)
        if not newest and self.origin:
            return self.origin._record(model)
        return loop.records(newest[-1])


def _merged(values: dict, changes: dict) -> dict:
    return values | {
        name: _merged(values[name], change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }


def _unchanged(run: config.Run, other: config.Run, same_tree: bool) -> list[str]:
    """Models that both runs train alike; only the encoder does not know the tree."""
    models = []
    for model in ("encoder", "generator", "towers"):
        if getattr(run, model) != getattr(other, model):
            break
        if model != "encoder" and not same_tree:
            break
        models.append(model)
    return models
