"""Artefacts are written whole or not at all: a temporary name, then a rename."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from tfrs_himirec import errors

Path = str | os.PathLike[str]


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path that becomes `path` when the block succeeds."""
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[pathlib.Path]:
    """Yields a temporary directory that takes the place of `path` on success."""
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    name = tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = pathlib.Path(name)
    temporary.chmod(0o755)
    try:
        yield temporary
        replace_directory(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_directory(source: pathlib.Path, target: pathlib.Path) -> None:
    """Renames `source` to `target`; what stood there is removed afterwards."""
    if not target.exists():
        os.replace(source, target)
        return
    aside = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent)
    )
    os.replace(target, aside / "old")
    os.replace(source, target)
    shutil.rmtree(aside)


def write_json(path: Path, value: Any) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, remedy: str) -> Any:
    """Reads a JSON file.

    Raises:
      HimirecError: the file is missing or is not JSON; `remedy` says what to do.
    """
    try:
        return json.loads(pathlib.Path(path).read_text())
    except FileNotFoundError:
        raise errors.HimirecError(f"{path}: no such file; {remedy}") from None
    except json.JSONDecodeError as error:
        raise errors.HimirecError(
            f"{path}: not valid JSON ({error}); {remedy}"
        ) from None


def sha256(path: Path) -> str:
    """Returns the hexadecimal SHA-256 digest of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Returns a short digest of a JSON-able value; dictionaries are order-free."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
