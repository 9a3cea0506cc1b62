"""The official MovieLens archives ml-1m.zip and ml-100k.zip, packed or unpacked."""

import pathlib
import re
import zipfile
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tfrs_himirec import errors
from tfrs_himirec.raw import batches, items, readers

_COLUMNS = ("UserID", "MovieID", "Rating", "Timestamp")
_NAMES = {
    "user_id": "UserID",
    "item_id": "MovieID",
    "timestamp": "Timestamp",
    "weight": "Rating",
}
_YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
# The columns of u.item after the first five; the file has no header.
_GENRES = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|"
    "Fantasy|Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)


class _Files(NamedTuple):
    ratings: str
    movies: str


_ML_1M = _Files("ratings.dat", "movies.dat")
_ML_100K = _Files("u.data", "u.item")


def open_source(path: pathlib.Path) -> batches.Source:
    """Opens an archive; ratings become weights and genres become tags.

    Raises:
      HimirecError: the path is missing, is no MovieLens archive, or a film is
        malformed.
    """
    layout, content = _read(path)
    ratings = content[layout.ratings]
    if layout is _ML_1M:
        ratings = ratings.replace(b"::", b"\t")
    log = path / layout.ratings
    fields = batches.Fields(_NAMES, frozenset(_NAMES))
    stream = readers.csv_batches(log, fields, ratings, _COLUMNS, "\t")
    movies = _movies(path / layout.movies, content[layout.movies], layout)
    return batches.Source(log, stream, {}, items.table([movies], movies.path))


def _read(path: pathlib.Path) -> tuple[_Files, dict[str, bytes]]:
    """Returns the layout and the content of its two files by name."""
    if not path.exists():
        raise errors.HimirecError(f"{path}: no such path; check --raw (data.raw)")
    if path.is_dir():
        return _pick(path, [path, *sorted(p for p in path.iterdir() if p.is_dir())])
    try:
        with zipfile.ZipFile(path) as archive:
            root = zipfile.Path(archive)
            return _pick(path, [root, *(p for p in root.iterdir() if p.is_dir())])
    except zipfile.BadZipFile:
        raise errors.HimirecError(
            f"{path}: not a zip archive; name ml-1m.zip, ml-100k.zip or their folder"
        ) from None


def _pick(path: pathlib.Path, folders: list) -> tuple[_Files, dict[str, bytes]]:
    for folder in folders:
        for layout in (_ML_1M, _ML_100K):
            members = [folder / name for name in layout]
            if all(member.is_file() for member in members):
                return layout, {member.name: member.read_bytes() for member in members}
    found = sorted(member.name for folder in folders for member in folder.iterdir())
    raise errors.HimirecError(
        f"{path}: holds neither {_ML_1M.ratings} and {_ML_1M.movies} (ml-1m) nor "
        f"{_ML_100K.ratings} and {_ML_100K.movies} (ml-100k), found "
        f"{', '.join(found[:12]) or 'nothing'}; name one of these archives with --raw"
    )


def _movies(path: pathlib.Path, content: bytes, layout: _Files) -> batches.Batch:
    split = _movie_1m if layout is _ML_1M else _movie_100k
    rows, ids, titles, genres = [], [], [], []
    for row, line in enumerate(content.decode("latin-1").split("\n"), 1):
        if not line.strip():
            continue
        try:
            movie, title, tags = split(line.rstrip("\r"))
        except ValueError:
            raise errors.HimirecError(
                f"{path}: line {row}: not a film of {path.name}, received "
                f"{line[:80]!r}; take the official file"
            ) from None
        rows.append(row)
        ids.append(movie or None)
        titles.append(title)
        genres.append(tags)
    texts = [
        " ".join([_YEAR.sub("", title), *tags])
        for title, tags in zip(titles, genres, strict=True)
    ]
    columns = {
        "item_id": pa.array(ids, pa.string()),
        "title": pa.array(titles, pa.string()),
        "text": pa.array(texts, pa.string()),
        "tags": pa.array(genres, pa.list_(pa.string())),
    }
    names = {key: key for key in columns}
    return batches.Batch(path, "line", np.array(rows, np.int64), columns, names, True)


def _movie_1m(line: str) -> tuple[str, str, list[str]]:
    movie, rest = line.split("::", 1)
    title, genres = rest.rsplit("::", 1)
    return movie, title, genres.split("|")


def _movie_100k(line: str) -> tuple[str, str, list[str]]:
    movie, title, _, _, _, *flags = line.split("|")
    pairs = zip(_GENRES.split("|"), flags, strict=True)
    return movie, title, [genre for genre, flag in pairs if flag == "1"]
