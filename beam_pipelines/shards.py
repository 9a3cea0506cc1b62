"""Jobs over shards: every shard is written whole, with a record of what is in it."""

import pathlib

import apache_beam as beam
import numpy as np

from tfrs_himirec import files


def for_each(name: str, shards: list[pathlib.Path], work: beam.DoFn, options) -> None:
    """Runs a job that handles the shards one by one, on any number of workers.

    Elements are (number, path). The work writes files under names that depend on the
    number only, so that a retried bundle replaces its own output.
    """
    elements = [(number, str(path)) for number, path in enumerate(shards)]
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | f"{name} shards" >> beam.Create(elements)
            | f"{name} spread" >> beam.Reshuffle()
            | name >> beam.ParDo(work)
        )


def save_record(path: pathlib.Path, **arrays) -> None:
    """Writes what a shard holds; totals are summed from these records."""
    with files.atomic_file(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **arrays)


def records(directory: pathlib.Path) -> list[dict[str, np.ndarray]]:
    """Reads the records of a directory in the order of their shards."""
    found = []
    for path in sorted(directory.glob("*.npz")):
        with np.load(path, allow_pickle=True) as arrays:
            found.append(dict(arrays))
    return found
