"""`evaluation.json`: every model on the same test users with the same metric code."""

import logging
import pathlib

import numpy as np

from tfrs_himirec import config, errors, files
from tfrs_himirec.baselines import markov, popular
from tfrs_himirec.evaluation import diagnostics, metrics, users
from tfrs_himirec.models import recommender
from tfrs_himirec.training import artefacts

NAME = "evaluation.json"
SCHEMA = 1
_LOG = logging.getLogger(__name__)


def evaluate(run: config.Run, run_dir: files.Path) -> dict:
    """Evaluates the run's models and the baselines, writes and returns the result.

    Raises:
      HimirecError: a model is missing, or no test user has a history.
    """
    prepared = artefacts.Prepared(run_dir)
    test = users.load(run_dir, "test")
    if not test.histories:
        raise errors.HimirecError(
            f"{run_dir}: no test user has events before the targets; lower "
            "prepare.targets or import a longer log"
        )
    seen, diagnosed = _both_ways(run, prepared, test)
    result = {
        "schema": SCHEMA,
        "protocol": run.prepare.protocol,
        "seed": run.prepare.seed,
        "data": _data(prepared, test),
        "settings": run.model_dump(exclude={"run_dir", "data"}),
        "seen": seen,
        "diagnostics": diagnosed,
    }
    files.write_json(pathlib.Path(run_dir) / NAME, result)
    return result


def _both_ways(
    run: config.Run, prepared: artefacts.Prepared, test: users.Users
) -> tuple[dict, dict]:
    """Returns the metrics of every model and the diagnostics of those with circles."""
    at = run.evaluate.at
    baselines = _lists_of_baselines(run, prepared)
    himirec = _lists_of_himirec(run, prepared)
    seen, diagnosed = {}, {}
    for name, exclude in (("excluded", True), ("kept", False)):
        rows = {
            model: _measure(lists(test, exclude), test, prepared, at)
            for model, lists in baselines.items()
        }
        for model, lists in himirec.items():
            answer = lists.answer(test, exclude)
            found = lists.rows_of(answer.places)
            rows[model] = _measure(found, test, prepared, at)
            if exclude:
                diagnosed[model] = _diagnose(answer, test, prepared, at)
        _log_seen(name, rows)
        seen[name] = rows
    _log_losses(diagnosed, max(at))
    return seen, diagnosed


def _lists_of_baselines(run: config.Run, prepared: artefacts.Prepared) -> dict:
    items = prepared.catalog.size
    training = users.load(prepared.run_dir, "train").histories
    options = run.evaluate
    chain = markov.WindowedMarkov(items, options.markov_window, options.markov_recency)
    models = {"most_popular": popular.MostPopular(items), "markov": chain}
    longest = max(options.at)

    def lists_of(model):
        model.fit(training)
        return lambda test, exclude: users.baseline_lists(
            model, test, longest, exclude, options.batch_size
        )

    return {name: lists_of(model) for name, model in models.items()}


def _lists_of_himirec(
    run: config.Run, prepared: artefacts.Prepared
) -> dict[str, users.HimirecLists]:
    stage1, stage2 = artefacts.load_models(run, prepared)
    model = recommender.Recommender(
        run, prepared.tree, prepared.catalog, stage1, stage2
    )
    return {
        f"himirec_{beams}beams": users.HimirecLists(
            model, max(run.evaluate.at), run.evaluate.batch_size, beams=beams
        )
        for beams in run.evaluate.beams
    }


def _measure(
    lists: np.ndarray,
    test: users.Users,
    prepared: artefacts.Prepared,
    at: tuple[int, ...],
) -> dict[str, float]:
    per_user, of_lists = measure(lists, test, prepared, at)
    return {name: float(value.mean()) for name, value in per_user.items()} | of_lists


def measure(
    lists: np.ndarray,
    test: users.Users,
    prepared: artefacts.Prepared,
    at: tuple[int, ...],
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Returns `metrics.per_user` and `metrics.of_lists` of one model.

    Args:
      lists: int `[users, results]`, vocabulary rows, -1 = none.
      test: the users.
      prepared: the run directory.
      at: list lengths M.
    """
    places = np.append(prepared.catalog.places, -1)[lists]
    leaf_of_place = prepared.tree.leaf_of_place
    return (
        metrics.per_user(lists, test.targets, at),
        metrics.of_lists(places, prepared.catalog.size, leaf_of_place, at),
    )


def _diagnose(
    answer: recommender.Recommendation,
    test: users.Users,
    prepared: artefacts.Prepared,
    at: tuple[int, ...],
) -> dict:
    place = prepared.catalog.places
    targets = [place[rows] for rows in test.targets]
    histories = [place[rows] for rows in test.histories]
    return diagnostics.diagnose(answer, targets, histories, prepared.tree, at)


def _data(prepared: artefacts.Prepared, test: users.Users) -> dict:
    counts = prepared.manifest.counts
    names = ("users", "items", "interactions", "leaf_circles")
    data = {name: getattr(counts, name) for name in names}
    return data | {"evaluated_users": len(test.histories)}


def _log_seen(seen: str, rows: dict[str, dict]) -> None:
    names = [n for n in next(iter(rows.values())) if n.startswith(("recall", "hit"))]
    _log_table(f"seen items {seen}", names, rows)


def _log_losses(rows: dict[str, dict], m: int) -> None:
    names = [f"recall@{m}", "ceiling", f"recall_in_right_circle@{m}"]
    names += [f"found_outside@{m}", f"lost_to_quota@{m}", f"lost_in_circle@{m}"]
    _log_table("where recall is lost, seen items excluded", names, rows)


def _log_table(title: str, names: list[str], rows: dict[str, dict]) -> None:
    _LOG.info("%s: %s", title, "  ".join(["model", *names]))
    for model, values in rows.items():
        shown = "  ".join(f"{values[name]:.4f}" for name in names)
        _LOG.info("%18s  %s", model, shown)
