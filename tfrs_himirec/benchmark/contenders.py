"""The models that HimiRec is measured against: how each is fitted and tuned."""

import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from tfrs_himirec import files
from tfrs_himirec.baselines import (
    divide_and_conquer,
    ease,
    item_knn,
    markov,
    multi_interest,
    popular,
    transformer,
)
from tfrs_himirec.benchmark import cells
from tfrs_himirec.evaluation import validation
from tfrs_himirec.training import artefacts, loop, train, windows

_LOG = logging.getLogger(__name__)

SEARCH: dict[str, dict[str, tuple]] = {
    "most_popular": {},
    "markov": {"window": (10, 5, 20), "decay": (0.8, 0.7, 0.9)},
    "itemknn": {"neighbors": (200, 50, 1000), "shrink": (10.0, 0.0, 100.0)},
    "ease": {"regularization": (300.0, 100.0, 1000.0, 3000.0)},
    "ease_recency": {
        "regularization": (300.0, 100.0, 1000.0),
        "decay": (0.9, 0.8, 0.95),
    },
    "transformer": {},
    "mind": {"interests": (4, 2, 8), "learning_rate": (2e-3, 4e-3), "places": (50, 20)},
    "comirec_sa": {
        "interests": (4, 2, 8),
        "learning_rate": (2e-3, 4e-3),
        "places": (50, 20),
    },
    "comirec_dr": {
        "interests": (4, 2, 8),
        "learning_rate": (2e-3, 4e-3),
        "places": (50, 20),
    },
    "divide_and_conquer": {"level": (1, 2), "merge": ("joint", "quota")},
}
"""Ranges of the search on validation users; the first value is where it starts."""


class Fitted(NamedTuple):
    """A model with `score(histories)`, and what it took.

    `parameters`: stored numbers. `seconds`: of fitting. `events`: training events
    that were read, once per epoch.
    """

    model: Any
    parameters: int
    seconds: float
    events: int

    @property
    def events_per_second(self) -> float:
        return self.events / max(self.seconds, 1e-9)


def fit(name: str, cell: cells.Cell, setting: dict[str, Any]) -> Fitted:
    """Fits a model on the training users of a cell."""
    keras.utils.set_random_seed(cell.run.encoder.seed)
    return _FIT[name](cell, setting)


def tune(
    name: str,
    cell: cells.Cell,
    base: dict[str, Any],
    search: dict[str, tuple],
    record: pathlib.Path,
) -> dict[str, Any]:
    """Picks the setting with the best recall on validation users.

    Coordinate search: one setting after the other, in the order of `search`, keeping
    the best so far. Every attempt is written to `record`, and not made again.
    """
    tried = files.read_json(record, "remove it") if record.exists() else []
    measure = validation.Validation(cell.run, cell.prepared)

    def recall(setting: dict) -> float:
        for attempt in tried:
            if attempt["setting"] == setting:
                return attempt["validation_recall"]
        found = measure.of_scores(fit(name, cell, setting).model)
        _LOG.info("%s %s: validation recall %.4f", name, setting, found)
        tried.append({"setting": setting, "validation_recall": found})
        files.write_json(record, tried)
        return found

    best = base | {key: values[0] for key, values in search.items()}
    for key, values in search.items():
        best = max(({**best, key: value} for value in values), key=recall)
    return best


def _fit_simple(make: Callable, parameters: Callable) -> Callable:
    def fitted(cell: cells.Cell, setting: dict[str, Any]) -> Fitted:
        training = cell.training
        started = time.monotonic()
        model = make(cell.prepared.catalog.size, **setting).fit(training)
        seconds = time.monotonic() - started
        events = sum(len(history) for history in training)
        return Fitted(model, parameters(model), seconds, events)

    return fitted


def _fit_transformer(cell: cells.Cell, setting: dict[str, Any]) -> Fitted:
    if setting:
        cell = cell.variant("transformer", encoder=setting)
    cell.train("encoder")
    model = artefacts.load_single_vector(cell.run, cell.prepared)
    lengths = windows.Lengths.of(cell.run, cuts=1)
    seconds, epochs = cell.training_record("encoder")
    return Fitted(
        transformer.Transformer(model, lengths),
        model.count_params(),
        seconds,
        epochs * cell.training_events,
    )


def _fit_multi_interest(kind: str) -> Callable:
    def fitted(cell: cells.Cell, setting: dict[str, Any]) -> Fitted:
        seed = cell.run.encoder.seed
        chosen = multi_interest.Settings(kind=kind, **{"seed": seed} | setting)
        long_term = cell.run.encoder.long_term
        model = multi_interest.MultiInterest(
            chosen, cell.prepared.catalog.size, long_term
        )
        return _trained(kind, cell, model, chosen, chosen.cuts)

    return fitted


def _fit_divide_and_conquer(cell: cells.Cell, setting: dict[str, Any]) -> Fitted:
    values = cell.run.encoder.model_dump() | setting
    merge = values.pop("merge", "joint")
    chosen = divide_and_conquer.Settings(**values)
    model = divide_and_conquer.DivideAndConquer(
        chosen, cell.prepared.tree, cell.prepared.catalog.rows, merge
    )
    return _trained("divide_and_conquer", cell, model, chosen, cuts=1)


def _trained(name: str, cell: cells.Cell, model, settings, cuts: int) -> Fitted:
    """Trains a Keras model once; afterwards its weights are loaded."""
    folder = train.directory(cell.run_dir, name, [settings])
    weights = folder / "finished.weights.h5"
    if weights.exists():
        model.load_weights(weights)
    else:
        measure = validation.Validation(cell.run, cell.prepared)
        train.fit(
            model,
            settings,
            windows.Lengths.of(cell.run, cuts),
            cell.run_dir,
            lambda: measure.of_scores(model),
            folder,
        )
        artefacts.save_weights(model, weights)
    records = loop.records(folder / "metrics.jsonl")
    events = len(records) * cell.training_events
    return Fitted(model, model.count_params(), records[-1]["seconds"], events)


_FIT: dict[str, Callable[[cells.Cell, dict[str, Any]], Fitted]] = {
    "most_popular": _fit_simple(popular.MostPopular, lambda m: m.items),
    "markov": _fit_simple(markov.WindowedMarkov, lambda m: m.transitions.nnz),
    "itemknn": _fit_simple(item_knn.ItemKnn, lambda m: m.similarity.nnz),
    "ease": _fit_simple(ease.Ease, lambda m: m.weights.size),
    "ease_recency": _fit_simple(ease.Ease, lambda m: m.weights.size),
    "transformer": _fit_transformer,
    "mind": _fit_multi_interest("mind"),
    "comirec_sa": _fit_multi_interest("comirec_sa"),
    "comirec_dr": _fit_multi_interest("comirec_dr"),
    "divide_and_conquer": _fit_divide_and_conquer,
}
