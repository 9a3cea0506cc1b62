"""Prints the table of a finished run and writes it with machine, versions and seeds.

python benchmarks/evaluation_table.py RUN --out benchmarks/results/NAME.json
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform

from tfrs_himirec import files

_PACKAGES = ("tensorflow", "keras", "keras-hub", "tensorflow-recommenders", "numpy")
_METRICS = (
    "recall@20",
    "hit_rate@20",
    "ndcg@20",
    "recall@50",
    "hit_rate@50",
    "ndcg@50",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path, help="run directory")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file to write")
    args = parser.parse_args()
    evaluation = json.loads((args.run / "evaluation.json").read_text())
    evaluation["machine"] = f"{os.cpu_count()} cores, {platform.machine()}"
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    evaluation["versions"] = versions
    evaluation["training"] = _training(args.run)
    if args.out:
        files.write_json(args.out, evaluation)
    print(markdown(evaluation))


def _training(run: pathlib.Path) -> dict[str, dict[str, float]]:
    """Epochs and seconds of each model's training."""
    found = {}
    for log in sorted(run.glob("training/*/*/metrics.jsonl")):
        records = [json.loads(line) for line in log.read_text().splitlines()]
        seconds = records[-1]["seconds"]
        found[log.parent.parent.name] = {"epochs": len(records), "seconds": seconds}
    return found


def markdown(evaluation: dict) -> str:
    """Returns the rows of both ways as Markdown, in percent."""
    data = evaluation["data"]
    lines = [
        f"Protocol {evaluation['protocol']}, seed {evaluation['seed']}, "
        f"{data['evaluated_users']} test users, {data['items']} items, "
        f"{data['leaf_circles']} leaf circles, {evaluation['machine']}.",
    ]
    for seen, rows in evaluation["seen"].items():
        lines += [
            "",
            f"Seen items {seen}:",
            "",
            "| model | " + " | ".join(_METRICS) + " |",
        ]
        lines += ["| --- |" + " --- |" * len(_METRICS)]
        for model, values in rows.items():
            shown = " | ".join(f"{100 * values[name]:.1f}" for name in _METRICS)
            lines.append(f"| {model} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
