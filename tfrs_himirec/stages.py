"""Stages of a run: each skips itself when its inputs and settings have not changed."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Sequence

from tfrs_himirec import errors, files
from tfrs_himirec.schema import VERSION

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A step of a run.

    Attributes:
      name: of the command that runs it.
      settings: JSON-able settings that its result depends on.
      inputs: files that it reads; missing ones are an error of the step itself.
      output: what it writes last, so that its presence means "complete".
    """

    name: str
    settings: dict
    inputs: Sequence[pathlib.Path]
    output: pathlib.Path

    @property
    def fingerprint(self) -> str:
        """Digest of format version, settings, and size and time of the inputs."""
        found = [
            (str(path), path.stat().st_size, path.stat().st_mtime_ns)
            for path in self.inputs
            if path.exists()
        ]
        return files.fingerprint([VERSION, self.name, self.settings, found])

    def run(
        self, run_dir: pathlib.Path, work: Callable[[], object], force=False
    ) -> bool:
        """Runs `work` unless its result is there; returns whether it ran."""
        stamp = run_dir / ".stages" / f"{self.name}.json"
        if not force and self._is_done(stamp):
            _LOG.info("%s: up to date, skipped (--force runs it again)", self.name)
            return False
        _LOG.info("%s: started", self.name)
        stamp.unlink(missing_ok=True)
        fingerprint = self.fingerprint
        work()
        value = {"fingerprint": fingerprint, "settings": self.settings}
        files.write_json(stamp, value)
        _LOG.info("%s: done", self.name)
        return True

    def _is_done(self, stamp: pathlib.Path) -> bool:
        if not (stamp.is_file() and self.output.exists()):
            return False
        remedy = "remove it to run the stage again"
        found = files.read_json(stamp, remedy)
        if not isinstance(found, dict):
            raise errors.HimirecError(f"{stamp}: not a stage record; {remedy}")
        return found.get("fingerprint") == self.fingerprint
