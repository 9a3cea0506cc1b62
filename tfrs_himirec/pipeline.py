"""The stages of a run, in order; every one is also a command."""

import contextlib
import fcntl
import pathlib
from collections.abc import Callable, Iterator

from tfrs_himirec import config, errors, files, stages
from tfrs_himirec.schema import manifest, raw

SETTINGS = "config.json"


class Pipeline:
    """Makes and runs the stages of one run directory.

    Args:
      run: settings.
      run_dir: where every stage reads and writes.
      beam_args: options passed through to Apache Beam.
    """

    def __init__(
        self, run: config.Run, run_dir: files.Path, beam_args: list[str] | None = None
    ):
        self.settings = run
        self.run_dir = pathlib.Path(run_dir)
        self.beam_args = beam_args or []

    def all(self, force: bool = False) -> None:
        """Runs every stage that is not up to date."""
        self.import_(force)
        self.prepare(force)
        self.train_encoder(force)
        self.train_generator(force)
        self.train_towers(force)
        self.evaluate(force)
        self.export(force)

    def import_(self, force: bool = False) -> None:
        from tfrs_himirec.raw import importer

        data = self.settings.data
        given = [pathlib.Path(path) for path in (data.raw, data.items) if path]
        inputs = [file for path in given for file in _files(path)]
        out = self.run_dir / "raw"
        settings = data.model_dump(mode="json")
        self._run(
            "import", settings, inputs, out, lambda: importer.run(data, out), force
        )

    def prepare(self, force: bool = False) -> None:
        from beam_pipelines import prepare

        settings = self.settings.prepare
        folder = self.run_dir / "raw"
        inputs = [folder / raw.INTERACTIONS, folder / raw.ITEMS]
        if settings.embedding.vectors:
            inputs.append(pathlib.Path(settings.embedding.vectors))
        if (self.run_dir / manifest.NAME).exists() and not force:
            manifest.load(self.run_dir)  # another schema version is not replaced
        self._run(
            "prepare",
            settings.model_dump(mode="json"),
            inputs,
            self.run_dir / manifest.NAME,
            lambda: prepare.run(self.run_dir, settings, self.beam_args, force),
            force,
        )

    def train_encoder(self, force: bool = False) -> None:
        from tfrs_himirec.training import artefacts, train

        self._run(
            "train-encoder",
            self._dump("encoder"),
            [self.run_dir / manifest.NAME],
            artefacts.weights_path(self.run_dir, "encoder"),
            lambda: train.train_encoder(self.settings, self.run_dir, force),
            force,
        )

    def train_generator(self, force: bool = False) -> None:
        from tfrs_himirec.training import artefacts, train

        self._run(
            "train-generator",
            self._dump("encoder", "generator"),
            [artefacts.weights_path(self.run_dir, "encoder")],
            artefacts.weights_path(self.run_dir, "generator"),
            lambda: train.train_generator(self.settings, self.run_dir, force),
            force,
        )

    def train_towers(self, force: bool = False) -> None:
        from tfrs_himirec.training import artefacts, train

        self._run(
            "train-towers",
            self._dump("encoder", "generator", "towers"),
            [artefacts.weights_path(self.run_dir, "generator")],
            artefacts.weights_path(self.run_dir, "towers"),
            lambda: train.train_towers(self.settings, self.run_dir, force),
            force,
        )

    def evaluate(self, force: bool = False) -> None:
        from tfrs_himirec.evaluation import evaluate

        self._run(
            "evaluate",
            self._dump("encoder", "generator", "towers", "recommend", "evaluate"),
            self._weights(),
            self.run_dir / evaluate.NAME,
            lambda: evaluate.evaluate(self.settings, self.run_dir),
            force,
        )

    def export(self, force: bool = False, model_base: files.Path | None = None) -> None:
        """Exports to `model_base`, by default `RUN/models/NAME`."""
        from tfrs_himirec.export import export

        base = pathlib.Path(model_base or self.model_base)
        self._run(
            "export",
            self._dump("encoder", "generator", "towers", "recommend", "export")
            | {"model_base": str(base)},
            self._weights(),
            base,
            lambda: export.export(self.settings, self.run_dir, base),
            force,
        )

    @property
    def model_base(self) -> pathlib.Path:
        return self.run_dir / "models" / self.settings.export.name

    def _weights(self) -> list[pathlib.Path]:
        from tfrs_himirec.training import artefacts

        return [
            artefacts.weights_path(self.run_dir, m) for m in ("generator", "towers")
        ]

    def _dump(self, *names: str) -> dict:
        return self.settings.model_dump(mode="json", include=set(names))

    def _run(self, name, settings, inputs, output, work: Callable, force: bool) -> None:
        stage = stages.Stage(name, settings, inputs, output)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with _lock(self.run_dir):
            _save_settings(self.settings, self.run_dir)
            stage.run(self.run_dir, work, force)


def load_settings(path: files.Path | None, run_dir: files.Path | None) -> config.Run:
    """Reads the settings: of `path`, or else the last ones used in `run_dir`.

    Raises:
      HimirecError: a file is missing or invalid.
    """
    saved = pathlib.Path(run_dir or ".") / SETTINGS
    if path is None and run_dir is not None and saved.is_file():
        path = saved
    run = config.load(path) if path else config.Run()
    return run.model_copy(update={"run_dir": str(run_dir or run.run_dir)})


def _save_settings(run: config.Run, run_dir: pathlib.Path) -> None:
    files.write_json(run_dir / SETTINGS, run.model_dump(mode="json"))


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path.rglob("*")) if path.is_dir() else [path]


@contextlib.contextmanager
def _lock(run_dir: pathlib.Path) -> Iterator[None]:
    """Two stages must not write to one run directory at the same time."""
    with open(run_dir / ".lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.HimirecError(
                f"{run_dir}: another himirec process is working here; wait for it or "
                "use another --run-dir"
            ) from None
        yield
