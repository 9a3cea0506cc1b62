"""Logs as CSV, JSONL or Parquet files."""

import logging
import pathlib
from collections.abc import Iterator

from tfrs_himirec import config, errors
from tfrs_himirec.raw import batches, items, readers

_KINDS = ("csv", "jsonl", "parquet")
_log = logging.getLogger(__name__)


def open_source(path: pathlib.Path, data: config.Data) -> batches.Source:
    """Opens a log: a file, or a directory with `interactions` and perhaps `items`.

    A Parquet file may be a folder of part files, which are read by name.

    Raises:
      HimirecError: a path or a column is missing, or the item file is malformed.
    """
    log = _interactions(path, data.source)
    fields = batches.log_fields(data.columns)
    id_types = {}
    if data.source == "parquet":
        id_types = readers.parquet_id_types(_parts(log), fields)
    table = None
    item_path = _items(path, data)
    if item_path:
        item_fields = batches.item_fields(data.columns)
        table = items.table(_batches(item_path, data.source, item_fields), item_path)
    else:
        _log.warning("%s: no item file; items get their id as title", path)
    stream = _batches(log, data.source, fields)
    return batches.Source(log, stream, id_types, table)


def _interactions(path: pathlib.Path, kind: str) -> pathlib.Path:
    if not path.exists():
        raise errors.HimirecError(
            f"{path}: no such file or directory; check --raw (data.raw)"
        )
    if path.is_file():
        return path
    found = _inside(path, "interactions", kind)
    if not found:
        raise errors.HimirecError(
            f"{path}: holds no interactions.{kind}; name the log itself with --raw"
        )
    return found


def _items(path: pathlib.Path, data: config.Data) -> pathlib.Path | None:
    if data.items is None:
        return _inside(path, "items", data.source) if path.is_dir() else None
    named = pathlib.Path(data.items)
    if not named.exists():
        raise errors.HimirecError(
            f"{named}: no such item file; check --items (data.items)"
        )
    return named


def _inside(path: pathlib.Path, stem: str, kind: str) -> pathlib.Path | None:
    if (path / f"{stem}.{kind}").exists():
        return path / f"{stem}.{kind}"
    folder = path / stem
    return folder if kind == "parquet" and folder.is_dir() else None


def _batches(
    path: pathlib.Path, source: str, fields: batches.Fields
) -> Iterator[batches.Batch]:
    """Reads a file as what its name ends on, else as what the log is."""
    kind = path.suffix[1:] if path.suffix[1:] in _KINDS else source
    if kind == "csv":
        return readers.csv_batches(path, fields)
    if kind == "jsonl":
        return readers.jsonl_batches(path, fields)
    parts = _parts(path)
    id_types = readers.parquet_id_types(parts, fields)
    return readers.parquet_batches(parts, fields, id_types)


def _parts(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_file():
        return [path]
    parts = sorted(path.glob("*.parquet"))
    if not parts:
        raise errors.HimirecError(f"{path}: holds no *.parquet files; check the folder")
    return parts
