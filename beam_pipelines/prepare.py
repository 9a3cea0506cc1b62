"""The prepare stage: raw logs -> catalogue, tree, sequences, split histories."""

import logging
import pathlib
import shutil

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from beam_pipelines import events, options, sequences
from tfrs_himirec import config, errors, files
from tfrs_himirec.embeddings import behavior, text
from tfrs_himirec.schema import catalog, manifest, raw
from tfrs_himirec.tree import kmeans

_LOG = logging.getLogger(__name__)
_ROWS_PER_BUCKET = 300_000


def run(
    run_dir: files.Path,
    settings: config.Prepare,
    beam_args: list[str],
    force: bool = False,
) -> manifest.Manifest:
    """Prepares a run directory; `manifest.json` is written last.

    Raises:
      HimirecError: `raw/` is missing or malformed, nothing is left after filtering,
        or the run directory has another schema version and `force` is not set.
    """
    root = pathlib.Path(run_dir)
    interactions, items_path = raw.paths(root / "raw")
    if (root / manifest.NAME).exists() and not force:
        manifest.load(root)
    beam_options = options.build(beam_args)
    (root / manifest.NAME).unlink(missing_ok=True)
    work = root / ".prepare-work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    result = _prepare(interactions, items_path, work, settings, beam_options)
    for name in ("catalog", "tree", "sequences", "histories", "rejected"):
        files.replace_directory(work / name, root / name)
    shutil.rmtree(work)
    manifest.save(root, result)
    return result


def _prepare(interactions, items_path, work, settings, beam_options):
    schema = pq.read_schema(interactions)
    id_types = {n: raw.id_type(schema, n, interactions) for n in ("user_id", "item_id")}
    items = pq.read_table(items_path).to_pandas()
    _check_unique(items["item_id"], items_path)
    read = pq.read_metadata(interactions).num_rows
    if not read:
        raise errors.HimirecError(f"{interactions}: no events; import a longer log")
    np.save(work / "known.npy", items["item_id"].to_numpy(), allow_pickle=True)
    buckets = max(settings.buckets, -(-read // _ROWS_PER_BUCKET))
    known = str(work / "known.npy")
    events.run(interactions, known, work, buckets, beam_options)
    shards = sorted((work / "clean").glob("*.parquet"))
    clean = sum(pq.read_metadata(path).num_rows for path in shards)
    rejected = sum(_lines(path) for path in (work / "rejected").iterdir())
    kept, users = _filter(shards, items, settings)
    splits = _split_users(users, settings)
    documents, kept = _vocabulary(kept, items)
    tree, order, embedding, counts = _tree(shards, kept, documents, splits, settings)
    kept["circle"] = ""
    kept.loc[order, "circle"] = [tree.paths[leaf] for leaf in tree.leaf_of_place]
    _write_catalog(work, kept, items, tree, order, embedding, counts, id_types)
    written = _build(work, shards, kept, splits, settings, id_types, beam_options)
    totals = manifest.Counts(
        events_read=read,
        rejected=rejected,
        duplicates=read - rejected - clean,
        users=len(users),
        items=len(kept),
        interactions=int(users.sum()),
        leaf_circles=len(tree.leaves),
        train_users=int((splits == "train").sum()),
        validation_users=int((splits == "validation").sum()),
        test_users=int((splits == "test").sum()),
        too_short_users=len(users) - written,
    )
    _LOG.info("prepared: %s", totals)
    return manifest.Manifest(
        counts=totals,
        id_types=id_types,
        inputs={path.name: files.sha256(path) for path in (interactions, items_path)},
        settings=settings.model_dump(mode="json"),
        tree=tree.fingerprint,
    )


def _check_unique(ids: pd.Series, path) -> None:
    twice = np.flatnonzero(ids.duplicated())
    if len(twice):
        again = int(twice[0])
        first = int(np.flatnonzero(ids == ids[again])[0])
        raise errors.HimirecError(
            f"{path}: item_id {ids[again]!r} is in rows {first + 1} and {again + 1}; "
            "keep one of them"
        )


def _lines(path: pathlib.Path) -> int:
    with open(path) as stream:
        return sum(1 for _ in stream)


def _filter(shards, items, settings) -> tuple[pd.DataFrame, pd.Series]:
    """Returns kept items, and events per kept user: items first, then users."""
    columns = [pd.read_parquet(path, columns=["item_id"]) for path in shards]
    counts = pd.concat(columns)["item_id"].value_counts() if columns else pd.Series()
    kept = counts.index[counts >= settings.min_item_events]
    frames = [pd.read_parquet(path, columns=["user_id", "item_id"]) for path in shards]
    users = [f[f["item_id"].isin(kept)]["user_id"].value_counts() for f in frames]
    per_user = pd.concat(users) if users else pd.Series(dtype="int64")
    per_user = per_user[per_user >= settings.min_user_events].sort_index()
    if per_user.empty:
        raise errors.HimirecError(
            f"no user is left: {len(kept)} items have prepare.min_item_events = "
            f"{settings.min_item_events} events; lower it, or min_user_events"
        )
    return pd.DataFrame({"item_id": np.sort(kept.to_numpy())}), per_user


def _split_users(users: pd.Series, settings: config.Prepare) -> pd.Series:
    """Assigns users to splits by a seeded hash: exact shares, any bucket count."""
    key = f"himirec-{settings.seed:08d}"[:16].ljust(16, "-")
    order = np.argsort(events.stable_hash(users.index.to_series(), key), kind="stable")
    test = round(settings.test_fraction * len(users))
    validation = round(settings.validation_fraction * (len(users) - test))
    split = np.full(len(users), "train", object)
    split[order[:test]] = "test"
    split[order[test : test + validation]] = "validation"
    return pd.Series(split, index=users.index)


def _vocabulary(kept: pd.DataFrame, items: pd.DataFrame):
    """Numbers the kept items in ascending order of id; returns their texts too."""
    kept["row"] = np.arange(len(kept))
    found = items.set_index("item_id").loc[kept["item_id"]]
    tags = found["tags"].map(lambda t: " ".join(t) if t is not None else "")
    documents = found["title"].fillna("") + " " + found["text"].fillna("") + " " + tags
    return documents.tolist(), kept


def _tree(shards, kept, documents, splits, settings):
    """Embeds the items, from training users only, and clusters them."""
    kept["circle"] = ""
    parts = [
        sequences.filtered(pd.read_parquet(p), kept, splits[splits == "train"])
        for p in shards
    ]
    training = pd.concat(parts)
    rows = training["row"].to_numpy()
    owner = pd.factorize(training["user_id"])[0]
    counts = np.bincount(rows, minlength=len(kept))
    embedding = _embedding(settings.embedding, documents, rows, owner, len(kept))
    tree, order = kmeans.build_tree(embedding, settings.tree)
    return tree, order, embedding, counts


def _embedding(settings: config.Embedding, documents, rows, owner, items: int):
    if settings.kind == "vectors" or settings.preset:
        raise errors.HimirecError(
            "prepare.embedding: kind: vectors and preset are not available yet; use "
            "text, behavior or both"
        )
    dim = settings.dim // 2 if settings.kind == "both" else settings.dim
    parts = []
    if settings.kind in ("text", "both"):
        parts.append(text.embed(documents, dim))
    if settings.kind in ("behavior", "both"):
        counts = behavior.cooccurrence(rows, owner, items, settings.window)
        parts.append(behavior.embed(counts, dim))
    return np.concatenate(parts, axis=1)


def _write_catalog(work, kept, items, tree, order, embedding, counts, id_types):
    found = items.set_index("item_id").loc[kept["item_id"].iloc[order]]
    dtype = object if id_types["item_id"] == "string" else np.int64
    listed = catalog.Catalog(
        item_ids=np.array(found.index.tolist(), dtype=dtype),
        rows=order.astype(np.int64),
        titles=found["title"].fillna("").to_numpy(object),
        tags=[list(t) if t is not None else [] for t in found["tags"]],
        counts=counts[order],
        embedding=embedding[order],
    )
    catalog.save(work / "catalog", listed, [tree.paths[n] for n in tree.leaf_of_place])
    tree.save(work / "tree")


def _build(work, shards, kept, splits, settings, id_types, beam_options) -> int:
    """Runs the build job; returns the number of users written."""
    for name in ("sequences", "histories"):
        (work / name).mkdir()
    kept.to_pickle(work / "items.pkl")
    splits.to_pickle(work / "splits.pkl")
    targets = sequences.last_events(settings.protocol, settings.targets)
    build = sequences.BuildShard(str(work), len(shards), targets, id_types)
    with beam.Pipeline(options=beam_options) as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create([(i, str(p)) for i, p in enumerate(shards)])
            | "Spread" >> beam.Reshuffle()
            | "Build" >> beam.ParDo(build)
        )
    paths = (work / "histories").iterdir()
    return sum(len(pq.read_table(p)["user_id"].unique()) for p in paths)
