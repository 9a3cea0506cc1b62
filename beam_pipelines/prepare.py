"""The prepare stage: raw logs -> catalogue, tree, sequences, split histories."""

import logging
import pathlib
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from beam_pipelines import (
    cooccurrence,
    events,
    options,
    sequences,
    shards,
    vocabulary,
)
from tfrs_himirec import config, errors, files
from tfrs_himirec.embeddings import behavior, text, vectors
from tfrs_himirec.schema import catalog, manifest, raw
from tfrs_himirec.tree import circle_tree, kmeans

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
    source = raw.paths(root / "raw")
    if (root / manifest.NAME).exists() and not force:
        manifest.load(root)
    job = _Job(*source, root / ".prepare-work", settings, options.build(beam_args))
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

    def __init__(self, interactions, items, work, settings, beam_options):
        self.interactions = interactions
        self.items_path = items
        self.work = work
        self.settings = settings
        self.options = beam_options
        log = pq.ParquetFile(interactions)
        self.events_read = log.metadata.num_rows
        if not self.events_read:
            raise errors.HimirecError(f"{interactions}: no events; import a longer log")
        columns = ("user_id", "item_id")
        self.id_types = {
            name: raw.id_type(log.schema_arrow, name, interactions) for name in columns
        }
        self.items = pq.read_table(items).to_pandas()
        _refuse_duplicates(self.items["item_id"], items)

    def run(self) -> manifest.Manifest:
        shutil.rmtree(self.work, ignore_errors=True)
        for name in ("users", "pairs", "built", "sequences", "histories"):
            (self.work / name).mkdir(parents=True)
        clean = self._clean()
        users = self._vocabulary(clean)
        counts, pairs = self._count_pairs(clean)
        tree = self._catalog(counts, pairs)
        shards.for_each("Build", clean, self._build_work(len(clean)), self.options)
        return self._manifest(users, tree)

    def _clean(self) -> list[pathlib.Path]:
        needed = -(-self.events_read // events.BUCKET_ROWS)
        buckets = max(self.settings.buckets, needed)
        events.run(
            self.interactions,
            self.items_path,
            self.work,
            buckets,
            self.id_types,
            self.options,
        )
        self.rejected = _total(self.work / "rejected", "rejected")
        self.duplicates = _total(self.work / "clean", "duplicates")
        for record in (self.work / "rejected").glob("*.npz"):
            record.unlink()
        _LOG.info(
            "cleaned %d events: %d rejected, %d duplicates",
            self.events_read,
            self.rejected,
            self.duplicates,
        )
        return sorted((self.work / "clean").glob("*.parquet"))

    def _vocabulary(self, clean: list[pathlib.Path]) -> pd.DataFrame:
        """Writes `items.parquet` and `users.parquet` for the workers."""
        kept = vocabulary.kept_items(self.work / "clean", self.settings)
        self.kept = pd.DataFrame({"item_id": kept})
        self.kept.to_parquet(self.work / "items.parquet")
        count = vocabulary.CountUsers(
            str(self.work / "items.parquet"), str(self.work / "users")
        )
        shards.for_each("Count users", clean, count, self.options)
        users = vocabulary.split_users(self.work / "users", self.settings)
        users.to_parquet(self.work / "users.parquet")
        _LOG.info("kept %d items, %d users", len(kept), len(users))
        return users

    def _count_pairs(self, clean: list[pathlib.Path]):
        behaves = self.settings.embedding.kind in ("behavior", "both")
        count = cooccurrence.CountPairs(
            str(self.work / "items.parquet"),
            str(self.work / "users.parquet"),
            str(self.work / "pairs"),
            self.settings.embedding.window if behaves else 0,
        )
        shards.for_each("Count pairs", clean, count, self.options)
        return cooccurrence.totals(self.work / "pairs", len(self.kept))

    def _catalog(self, counts: np.ndarray, pairs) -> circle_tree.CircleTree:
        """Embeds and clusters the items; writes catalogue, tree and circles."""
        found = self.items.set_index("item_id").loc[self.kept["item_id"]]
        tags = [[] if own is None else list(own) for own in found["tags"]]
        titles = found["title"].fillna("")
        words = titles + " " + found["text"].fillna("") + " "
        documents = [a + " ".join(b) for a, b in zip(words, tags, strict=True)]
        embedding = self._embed(documents, pairs)
        tree, order = kmeans.build_tree(embedding, self.settings.tree)
        paths = [tree.paths[leaf] for leaf in tree.leaf_of_place]
        dtype = object if self.id_types["item_id"] == "string" else np.int64
        listed = catalog.Catalog(
            item_ids=self.kept["item_id"].to_numpy(dtype)[order],
            rows=order.astype(np.int64),
            titles=titles.to_numpy(object)[order],
            tags=[tags[row] for row in order],
            counts=counts[order],
            embedding=embedding[order],
        )
        catalog.save(self.work / "catalog", listed, paths)
        tree.save(self.work / "tree")
        circles = pd.Series(paths, index=order).sort_index()
        self.kept.assign(circle=circles).to_parquet(self.work / "items.parquet")
        _LOG.info("made %d leaf circles, depth %d", len(tree.leaves), tree.depth)
        return tree

    def _embed(self, documents: list[str], pairs) -> np.ndarray:
        """float32 `[items, dim]`, in the order of the vocabulary."""
        options = self.settings.embedding
        if options.kind == "vectors":
            if options.vectors is None:
                raise errors.HimirecError(
                    "prepare.embedding.kind is vectors: name the Parquet file in "
                    "prepare.embedding.vectors"
                )
            return vectors.load(options.vectors, self.kept["item_id"].to_numpy())
        dim = options.dim // 2 if options.kind == "both" else options.dim
        parts = []
        if options.kind in ("text", "both"):
            parts.append(_embed_text(documents, options.preset, dim))
        if options.kind in ("behavior", "both"):
            parts.append(behavior.embed(pairs, dim))
        return np.concatenate(parts, axis=1)

    def _build_work(self, count: int) -> sequences.BuildShard:
        return sequences.BuildShard(str(self.work), count, self.settings, self.id_types)

    def _manifest(self, users: pd.DataFrame, tree) -> manifest.Manifest:
        """Totals of the records; `users` and `interactions` include short users."""
        built = self.work / "built"
        kept = int(users["events"].sum())
        filtered = self.events_read - self.rejected - self.duplicates - kept
        totals = manifest.Counts(
            events_read=self.events_read,
            rejected=self.rejected,
            duplicates=self.duplicates,
            filtered=filtered,
            users=len(users),
            items=len(self.kept),
            interactions=kept,
            leaf_circles=len(tree.leaves),
            train_users=_total(built, "train"),
            validation_users=_total(built, "validation"),
            test_users=_total(built, "test"),
            too_short_users=_total(built, "too_short"),
        )
        _LOG.info("prepared: %s", totals)
        inputs = (self.interactions, self.items_path)
        return manifest.Manifest(
            counts=totals,
            id_types=self.id_types,
            inputs={path.name: files.sha256(path) for path in inputs},
            settings=self.settings.model_dump(mode="json"),
            tree=tree.fingerprint,
        )


def _embed_text(documents: list[str], preset: str | None, dim: int) -> np.ndarray:
    if preset is None:
        return text.embed(documents, dim)
    from tfrs_himirec.embeddings import preset as encoder  # imports keras-nlp

    return encoder.embed(documents, preset, dim)


def _refuse_duplicates(ids: pd.Series, path: pathlib.Path) -> None:
    twice = np.flatnonzero(ids.duplicated())
    if len(twice):
        again = int(twice[0])
        first = int(np.flatnonzero(ids == ids[again])[0])
        raise errors.HimirecError(
            f"{path}: item_id {ids[again]} is in rows {first + 1} and {again + 1}; "
            "keep one of them"
        )


def _total(directory: pathlib.Path, name: str) -> int:
    return int(sum(int(record[name]) for record in shards.records(directory)))
