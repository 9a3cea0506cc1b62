"""The prepare stage: raw logs -> catalogue, tree, sequences, split histories."""

import logging
import pathlib
import shutil

import numpy as np
import pandas as pd

from beam_pipelines import (
    cooccurrence,
    events,
    inputs,
    items,
    options,
    sequences,
    shards,
    vocabulary,
)
from tfrs_himirec import config, files
from tfrs_himirec.schema import manifest
from tfrs_himirec.tree import circle_tree

_LOG = logging.getLogger(__name__)
_OUTPUTS = ("catalog", "tree", "sequences", "histories", "rejected")


def run(
    run_dir: files.Path,
    settings: config.Prepare,
    beam_args: list[str],
    force: bool = False,
) -> manifest.Manifest:
    """Prepares a run directory; `manifest.json` is written last.

    Raises:
      HimirecError: `raw/` is missing or malformed, nothing is left after filtering,
        a Beam option is refused, or the run directory has another schema version and
        `force` is not set.
    """
    root = pathlib.Path(run_dir)
    log = inputs.check(root / "raw")
    if (root / manifest.NAME).exists() and not force:
        manifest.load(root)
    job = _Job(log, root / ".prepare-work", settings, options.build(beam_args))
    (root / manifest.NAME).unlink(missing_ok=True)
    try:
        result = job.run()
        for name in _OUTPUTS:
            files.replace_directory(job.work / name, root / name)
    finally:
        shutil.rmtree(job.work, ignore_errors=True)
    manifest.save(root, result)
    return result


class _Job:
    """The steps of one prepare, in order; files are made under `work`."""

    def __init__(self, log: inputs.Inputs, work, settings: config.Prepare, options):
        self.log = log
        self.work = work
        self.settings = settings
        self.options = options

    def run(self) -> manifest.Manifest:
        shutil.rmtree(self.work, ignore_errors=True)
        for name in ("users", "built", "sequences", "histories"):
            (self.work / name).mkdir(parents=True)
        clean = self._clean()
        item_ids, users = self._vocabulary(clean)
        tree = self._catalog(clean, item_ids)
        build = sequences.BuildShard(
            str(self.work), len(clean), self.settings, self.log.id_types
        )
        shards.for_each("Build", clean, build, self.options)
        _LOG.info("wrote %d shards of sequences and histories", len(clean))
        return self._manifest(users, tree)

    def _clean(self) -> list[pathlib.Path]:
        """Returns the clean shards: whole users, ordered, without duplicates."""
        needed = -(-self.log.events // events.BUCKET_ROWS)
        buckets = max(self.settings.buckets, needed)
        events.run(self.log, self.work, buckets, self.options)
        self.rejected = shards.total(self.work / "rejected", "rejected")
        self.duplicates = shards.total(self.work / "clean", "duplicates")
        for record in (self.work / "rejected").glob("*.npz"):
            record.unlink()
        _LOG.info(
            "cleaned %d events: %d rejected, %d duplicates",
            self.log.events,
            self.rejected,
            self.duplicates,
        )
        return sorted((self.work / "clean").glob("*.parquet"))

    def _vocabulary(self, clean) -> tuple[np.ndarray, pd.DataFrame]:
        """Writes `items.parquet` and `users.parquet` for the workers."""
        path = self.work / "items.parquet"
        item_ids = vocabulary.kept_items(
            self.work / "clean", self.log.items, self.settings
        )
        pd.DataFrame({"item_id": item_ids}).to_parquet(path)
        count = vocabulary.CountUsers(str(path), str(self.work / "users"))
        shards.for_each("Count users", clean, count, self.options)
        users = vocabulary.split_users(self.work / "users", self.settings)
        users.to_parquet(self.work / "users.parquet")
        _LOG.info("kept %d items and %d users", len(item_ids), len(users))
        return item_ids, users

    def _catalog(self, clean, item_ids: np.ndarray) -> circle_tree.CircleTree:
        embedding = self.settings.embedding
        window = embedding.window if embedding.kind in ("behavior", "both") else 0
        counts, pairs = cooccurrence.run(clean, self.work, window, self.options)
        _LOG.info("counted %d training events, %d pairs", counts.sum(), pairs.nnz)
        found = items.read(self.log, item_ids)
        vectors = items.embed(found, pairs, embedding)
        _LOG.info("embedded %d items in %d dimensions", *vectors.shape)
        return items.save(found, counts, vectors, self.settings.tree, self.work)

    def _manifest(self, users: pd.DataFrame, tree) -> manifest.Manifest:
        """Totals of the records; the counts are explained in `manifest.Counts`."""
        built = self.work / "built"
        # Users too short for a history are kept users: they count in `users` and
        # `interactions`, and the item counts of the filter, but are in no split.
        interactions = int(users["events"].sum())
        removed = self.rejected + self.duplicates
        totals = manifest.Counts(
            events_read=self.log.events,
            rejected=self.rejected,
            duplicates=self.duplicates,
            filtered=self.log.events - removed - interactions,
            users=len(users),
            items=tree.leaf_of_place.size,
            interactions=interactions,
            leaf_circles=len(tree.leaves),
            train_users=shards.total(built, "train"),
            validation_users=shards.total(built, "validation"),
            test_users=shards.total(built, "test"),
            too_short_users=shards.total(built, "too_short"),
        )
        _LOG.info("prepared: %s", totals)
        inputs = (self.log.interactions, self.log.items)
        return manifest.Manifest(
            counts=totals,
            id_types=self.log.id_types,
            inputs={path.name: files.sha256(path) for path in inputs},
            settings=self.settings.model_dump(mode="json"),
            tree=tree.fingerprint,
        )
