"""The table of a benchmark: JSON, Markdown and a plot."""

import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrs_himirec import files
from tfrs_himirec.benchmark import jobs, rows, settings
from tfrs_himirec.evaluation import bootstrap

SCHEMA = 1
Splits = dict[tuple[str, int], list[rows.Row]]
_PACKAGES = (
    "tensorflow",
    "keras",
    "keras-hub",
    "tensorflow-recommenders",
    "tf-keras",
    "numpy",
)
_REFERENCE_BEAMS = 6


def collect(work: jobs.Work) -> dict[str, Any]:
    """Returns the result of everything that is finished.

    Every entry of `rows` is a model on one protocol, seen items excluded or kept, over
    the seeds that are finished: mean and standard deviation of each metric, and the
    p-value of its first metric's difference to HimiRec with 6 beams.
    """
    splits: Splits = {
        (protocol, seed): work.rows(protocol, seed)
        for protocol in work.benchmark.protocols
        for seed in work.benchmark.seeds
    }
    splits = {split: found for split, found in splits.items() if found}
    measured = [
        row
        for protocol in work.benchmark.protocols
        for row in _rows_of_protocol(work, protocol, splits)
    ]
    skipped = [{"model": m, "skipped": why} for m, why in work.benchmark.skip.items()]
    return {
        "schema": SCHEMA,
        "name": work.benchmark.name,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "settings": work.run.model_dump(exclude={"run_dir", "data", "export"}),
        "tuning": _tuning(work.tuning),
        "data": _data(work, splits),
        "jobs": {f"{p}-{s}": work.spent(p, s) for p, s in splits},
        "rows": measured + skipped,
    }


def _rows_of_protocol(
    work: jobs.Work, protocol: str, splits: Splits
) -> Iterator[dict[str, Any]]:
    by_seed = {
        seed: {row.key: row for row in found}
        for (name, seed), found in splits.items()
        if name == protocol
    }
    reference = f"himirec-{work.run.recommend.merge}-{_REFERENCE_BEAMS}beams"
    for key in _ordered({k: r for found in by_seed.values() for k, r in found.items()}):
        for seen in rows.SEEN:
            seeds = [seed for seed, found in by_seed.items() if key in found]
            entry = _entry([by_seed[seed][key] for seed in seeds], seen)
            pairs = [
                (by_seed[seed][reference], by_seed[seed][key])
                for seed in seeds
                if reference in by_seed[seed] and key != reference
            ]
            p_values = _p_values(pairs, seen, work.benchmark.samples)
            yield {
                **_identity(by_seed[seeds[0]][key]),
                "protocol": protocol,
                "seen": seen,
                "seeds": seeds,
                **entry,
                "p_value_vs_himirec6": next(iter(p_values.values()), None),
                "p_values_vs_himirec6": p_values,
            }


def _ordered(found: dict[str, rows.Row]) -> list[str]:
    def place(key: str) -> tuple:
        row = found[key]
        names = [*settings.VARIANTS]
        variant = names.index(row.variant) + 1 if row.variant else 0
        order = settings.MODELS.index(row.model), variant, row.merge or ""
        return *order, row.beams or 0

    return sorted(found, key=place)


def _identity(row: rows.Row) -> dict[str, Any]:
    names = ("model", "beams", "merge", "variant", "setting", "parameters")
    return {name: getattr(row, name) for name in names}


def _entry(found: list[rows.Row], seen: str) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds, of every metric and cost."""
    entry: dict[str, Any] = {}
    for metric in found[0].per_user[seen]:
        entry[metric] = _spread([r.per_user[seen][metric].mean() for r in found])
    for metric in found[0].of_lists[seen]:
        entry[metric] = _spread([r.of_lists[seen][metric] for r in found])
    for cost in ("train_seconds", "events_per_second"):
        entry[cost] = round(float(np.mean([getattr(r, cost) for r in found])), 1)
    return entry


def _spread(values: list[float]) -> dict[str, float | None]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd}


def _p_values(pairs: list, seen: str, samples: int) -> dict[str, float]:
    """Paired over the test users of all seeds, of each recall and hit rate."""
    if not pairs:
        return {}
    names = [n for n in pairs[0][0].per_user[seen] if not n.startswith("ndcg")]
    return {
        name: bootstrap.paired_p_value(
            np.concatenate(
                [a.per_user[seen][name] - b.per_user[seen][name] for a, b in pairs]
            ),
            samples,
        )
        for name in names
    }


def _tuning(folder: pathlib.Path) -> dict[str, list]:
    paths = sorted(folder.glob("*.json"))
    return {path.stem: files.read_json(path, "remove it") for path in paths}


def _data(work: jobs.Work, splits: Splits) -> dict[str, dict]:
    """Counts of every split that has rows."""
    names = ("users", "items", "interactions", "leaf_circles")
    found = {}
    for (protocol, seed), own in splits.items():
        counts = work.cell(protocol, seed).prepared.manifest.counts
        users = len(next(iter(own[0].per_user["excluded"].values())))
        values = {name: getattr(counts, name) for name in names}
        found[f"{protocol}-{seed}"] = values | {"evaluated_users": users}
    return found


def markdown(result: dict[str, Any]) -> str:
    """Returns one table for each protocol and way to treat seen items, in percent."""
    lines = [f"# {result['name']}", "", f"{result['machine']}. Mean ± sd over seeds."]
    measured = [row for row in result["rows"] if "skipped" not in row]
    for protocol, seen in dict.fromkeys((r["protocol"], r["seen"]) for r in measured):
        chosen = [r for r in measured if (r["protocol"], r["seen"]) == (protocol, seen)]
        names = [n for n in chosen[0] if n.startswith(("recall", "hit_rate"))]
        head = ["model", *names, "p", "parameters", "train s", "events/s", "seeds"]
        lines += ["", f"## Protocol {protocol}, seen items {seen}", ""]
        lines += [_line(head), _line(["---"] * len(head))]
        lines += [_line(_cells(row, names)) for row in chosen]
    for row in result["rows"]:
        if "skipped" in row:
            lines += ["", f"{row['model']}: not measured, {row['skipped']}"]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def label(row: dict[str, Any]) -> str:
    """Returns a row's name for people."""
    parts = [row["model"]]
    parts += [f"{row['beams']} beams, {row['merge']}"] if row["beams"] else []
    parts += [row["variant"]] if row["variant"] else []
    return ", ".join(parts)


def _cells(row: dict[str, Any], names: list[str]) -> list[str]:
    p = row["p_value_vs_himirec6"]
    return [
        label(row),
        *(_percent(row[name]) for name in names),
        "" if p is None else f"{p:.4f}",
        f"{row['parameters']:,}",
        f"{row['train_seconds']:,.0f}",
        f"{row['events_per_second']:,.0f}",
        str(len(row["seeds"])),
    ]


def _percent(value: dict[str, Any]) -> str:
    mean = f"{100 * value['mean']:.2f}"
    return mean if value["sd"] is None else f"{mean} ± {100 * value['sd']:.2f}"


def plot(result: dict[str, Any], path: pathlib.Path) -> None:
    """Draws the first recall of every row of the first protocol, seen excluded."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    measured = [row for row in result["rows"] if "skipped" not in row]
    first = measured[0]["protocol"]
    shown = [r for r in measured if (r["protocol"], r["seen"]) == (first, "excluded")]
    metric = next(n for n in shown[0] if n.startswith("recall"))
    means = [100 * row[metric]["mean"] for row in shown]
    errors = [100 * (row[metric]["sd"] or 0) for row in shown]
    colors = ["C1" if row["model"] == "himirec" else "C0" for row in shown]
    figure, axes = pyplot.subplots(figsize=(8, 0.3 * len(shown) + 1.2))
    axes.barh([label(r) for r in shown], means, xerr=errors, color=colors)
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric} in percent, protocol {first}, seen items excluded")
    axes.set_title(result["name"])
    figure.tight_layout()
    with files.atomic_file(path) as temporary:
        figure.savefig(temporary, format="svg")
    pyplot.close(figure)
