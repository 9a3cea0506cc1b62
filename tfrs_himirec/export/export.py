"""Export of a run's models to `<model-base>/<version>/`, whole or not at all."""

import importlib.metadata
import logging
import os
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow as tf

from tfrs_himirec import config, files
from tfrs_himirec.evaluation import users
from tfrs_himirec.export import serving_module, warmup
from tfrs_himirec.models import recommender, scann_search
from tfrs_himirec.schema import VERSION
from tfrs_himirec.training import artefacts

_LOG = logging.getLogger(__name__)
_PACKAGES = ("tensorflow", "keras", "keras-hub", "tensorflow-recommenders", "scann")


def export(
    run: config.Run, run_dir: files.Path, model_base: files.Path
) -> pathlib.Path:
    """Writes the next version under `model_base` and returns its directory.

    Raises:
      HimirecError: a model has not been trained.
    """
    prepared = artefacts.Prepared(run_dir)
    model = recommender.Recommender(
        run, prepared.tree, prepared.catalog, *artefacts.load_models(run, prepared)
    )
    report = {}
    if run.export.index == "scann":
        report = _use_scann(model, prepared)
    module = serving_module.ServingModule(model, prepared.catalog.item_ids)
    histories = users.load(run_dir, "train", run.export.warmup_records).histories
    base = pathlib.Path(model_base)
    base.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".writing-", dir=base))
    try:
        _write(module, temporary, prepared, run, histories)
        description = _describe(run, prepared, report)
        files.write_json(temporary / "himirec.json", description)
        temporary.chmod(0o755)
        version = base / str(_next_version(base))
        os.rename(temporary, version)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _LOG.info("exported %s", version)
    return version


def _write(module, directory, prepared, run, histories) -> None:
    signatures = module.signatures()
    options = tf.saved_model.SaveOptions(
        namespace_whitelist=["Scann"] if run.export.index == "scann" else []
    )
    tf.saved_model.save(module, str(directory), signatures, options)
    ids = prepared.catalog.item_ids[prepared.catalog.places]
    examples = [ids[history[-run.encoder.short_term :]] for history in histories]
    warmup.write(directory, run.export.name, examples, prepared.tree.paths[1])


def _use_scann(model: recommender.Recommender, prepared) -> dict:
    """Replaces the model's index and returns recall against exact search."""
    options, tree = model.run.export, prepared.tree
    vectors = model.index.vectors.numpy()
    results = model.run.recommend.results
    index = scann_search.ScannCircleIndex(
        vectors, tree.start, tree.end, results, options.scann_items
    )
    model.index = index
    sample = np.random.default_rng(0).choice(len(vectors), min(256, len(vectors)))
    if index.is_exact():
        _LOG.warning(
            "no circle has more than export.scann_items = %d items: every search "
            "stays exact",
            options.scann_items,
        )
    length = min(50, results)
    recall = scann_search.recall_per_circle(index, vectors[sample], length)
    report = {tree.paths[node] or "root": value for node, value in recall.items()}
    for path, value in report.items():
        _LOG.info("circle %s: ScaNN recall@%d %.4f", path, length, value)
    return {"recall_at": length, "recall": report}


def _describe(run: config.Run, prepared, scann: dict) -> dict:
    weights = ("generator", "towers")
    paths = {name: artefacts.weights_path(prepared.run_dir, name) for name in weights}
    return {
        "schema_version": VERSION,
        "model": run.export.name,
        "index": run.export.index,
        "scann": scann,
        "item_id_type": prepared.catalog.id_type,
        "items": prepared.catalog.size,
        "beams": run.recommend.beams,
        "results": run.recommend.results,
        "fingerprints": {
            "tree": prepared.tree.fingerprint,
            **{name: files.sha256(path) for name, path in paths.items()},
        },
        "settings": run.model_dump(exclude={"run_dir", "data"}),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _next_version(base: pathlib.Path) -> int:
    found = [int(path.name) for path in base.iterdir() if path.name.isdecimal()]
    return max(found, default=0) + 1
