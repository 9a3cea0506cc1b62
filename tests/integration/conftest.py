"""One tiny run, made once by the command line, for every test of the chain."""

import pathlib
import subprocess
import sys

import pytest
import yaml

from tfrs_himirec import config
from tfrs_himirec.cli import main

SETTINGS = {
    "data": {
        "source": "synth",
        "synth": {"users": 150, "items": 120, "events": 6000, "seed": 3},
    },
    "prepare": {"targets": 5, "tree": {"k": 3, "c": 20}, "embedding": {"dim": 16}},
    "encoder": {
        "dim": 16,
        "layers": 1,
        "short_term": 16,
        "long_term": 4,
        "next_items": 5,
        "epochs": 2,
    },
    "generator": {"cuts": 8, "epochs": 1},
    "towers": {"cuts": 8, "split_history": 8, "epochs": 1},
    "recommend": {"beams": 4, "results": 30},
    "evaluate": {"at": [5, 20]},
}


def write_config(path: pathlib.Path, **changes) -> pathlib.Path:
    path.write_text(yaml.safe_dump(SETTINGS | changes))
    return path


def himirec(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs the command line in a process of its own."""
    command = [sys.executable, "-m", "tfrs_himirec.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory) -> pathlib.Path:
    """A finished run, from synthetic logs to the exported model."""
    folder = tmp_path_factory.mktemp("chain")
    settings = write_config(folder / "tiny.yaml")
    arguments = ["run", "--config", str(settings), "--run-dir", str(folder / "run")]
    assert main.main(arguments) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def settings(run_dir) -> config.Run:
    return config.load(run_dir / "config.json")


@pytest.fixture(scope="session")
def version_dir(run_dir) -> pathlib.Path:
    return run_dir / "models" / "himirec" / "1"
