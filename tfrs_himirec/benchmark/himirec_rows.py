"""The rows of HimiRec: beams, merges, ablations and other trees."""

from collections.abc import Callable, Iterator

from tfrs_himirec import config
from tfrs_himirec.benchmark import cells, contenders, rows, whole_library
from tfrs_himirec.evaluation import users
from tfrs_himirec.models import recommender
from tfrs_himirec.training import artefacts

_MODELS = ("encoder", "generator", "towers")

CHANGES: dict[str, dict[str, dict]] = {
    "no_sub_libraries": {},
    "no_behavior_splitting": {"towers": {"history": "unified"}},
    "leaf_stop": {"recommend": {"circles": "complete"}},
    "adaptive_stop": {
        "generator": {"stop": "adaptive"},
        "recommend": {"circles": "complete"},
    },
    "tree_text": {"prepare": {"embedding": {"kind": "text"}}},
    "tree_behavior": {"prepare": {"embedding": {"kind": "behavior"}}},
    "tree_both": {"prepare": {"embedding": {"kind": "both"}}},
}
"""What each variant changes in the configuration."""


def main_rows(cell: cells.Cell) -> Iterator[rows.Row]:
    """Trains HimiRec; yields a row for every number of beams and merge."""
    cell.train(*_MODELS)
    model = _load(cell)
    fitted = _fitted(cell, model)
    for beams in cell.run.evaluate.beams:
        for merge in ("quota", "joint"):
            yield _measure(cell, model, fitted, beams=beams, merge=merge)


def variant_row(name: str, cell: cells.Cell) -> rows.Row:
    """Trains what a variant changes and measures it as HimiRec is used by default."""
    changed = cell.variant(name, **CHANGES[name]) if CHANGES[name] else cell
    changed.train(*_MODELS)
    model = _load(changed)
    if name == "no_sub_libraries":
        model.index = whole_library.WholeLibraryIndex(
            model.index.vectors, model.tree.start, model.tree.end
        )
    return _measure(changed, model, _fitted(changed, model), variant=name)


def is_default(name: str, run: config.Run) -> bool:
    """Whether a variant changes nothing: the tree that is used anyway."""
    kind = CHANGES[name].get("prepare", {}).get("embedding", {}).get("kind")
    return kind == run.prepare.embedding.kind


def _load(cell: cells.Cell) -> recommender.Recommender:
    prepared = cell.prepared
    models = artefacts.load_models(cell.run, prepared)
    return recommender.Recommender(cell.run, prepared.tree, prepared.catalog, *models)


def _fitted(cell: cells.Cell, model: recommender.Recommender) -> contenders.Fitted:
    seconds, epochs = cell.training_record(*_MODELS)
    parameters = model.generator.count_params() + model.towers.count_params()
    return contenders.Fitted(None, parameters, seconds, epochs * cell.training_events)


def _measure(
    cell: cells.Cell,
    model: recommender.Recommender,
    fitted: contenders.Fitted,
    beams: int | None = None,
    merge: str | None = None,
    variant: str = "",
) -> rows.Row:
    options = cell.run.recommend
    beams, merge = beams or options.beams, merge or options.merge
    lists: Callable = users.HimirecLists(
        model,
        max(cell.run.evaluate.at),
        cell.run.evaluate.batch_size,
        beams=beams,
        merge_by=merge,
    )
    return rows.measure(
        lists,
        cell,
        fitted,
        model="himirec",
        beams=beams,
        merge=merge,
        variant=variant,
        setting={},
    )
