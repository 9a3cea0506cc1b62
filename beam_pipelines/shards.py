"""Jobs over shards: every shard is written whole, with a record of what is in it."""

import pathlib
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd

from tfrs_himirec import files


def for_each(name: str, shards: list[pathlib.Path], work: beam.DoFn, options) -> None:
    """Runs a job that handles the shards one by one, on any number of workers.

    Elements are (number, path). The work writes files under names that depend on the
    number only, so that a retried bundle replaces its own output.
    """
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | name >> Spread(shards) | f"{name} work" >> beam.ParDo(work)


class Spread(beam.PTransform):
    """(number, path) of every shard, spread over the workers."""

    def __init__(self, shards: list[pathlib.Path]):
        super().__init__()
        self._elements = [(number, str(path)) for number, path in enumerate(shards)]

    def expand(self, pipeline):
        return pipeline | beam.Create(self._elements) | beam.Reshuffle()


def save_record(path: pathlib.Path, **numbers: int) -> None:
    """Writes what a shard holds; totals are summed from these records."""
    with files.atomic_file(path) as temporary, open(temporary, "wb") as stream:
        arrays: dict[str, Any] = dict(numbers)
        np.savez(stream, **arrays)


def total(directory: pathlib.Path, name: str) -> int:
    """Sums one number over the records of a directory."""
    result = 0
    for path in directory.glob("*.npz"):
        with np.load(path) as record:
            result += int(record[name])
    return result


def save_counts(path: pathlib.Path, ids: pd.Series) -> None:
    """Writes how often each id occurs in a shard: Parquet with `id` and `events`."""
    counts = ids.value_counts(sort=False).rename_axis("id").reset_index(name="events")
    with files.atomic_file(path) as temporary:
        counts.to_parquet(temporary, index=False)


def read_counts(directory: pathlib.Path) -> Iterator[pd.Series]:
    """Yields the counts of the shards, one at a time, indexed by id."""
    for path in sorted(directory.glob("*.counts")):
        yield pd.read_parquet(path).set_index("id")["events"]
