"""`himirec ab-test`: two logs of served results, with outcomes."""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfrs_himirec import errors
from tfrs_himirec.cli import options

if TYPE_CHECKING:
    from tfrs_himirec.evaluation import ab_test


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "ab-test",
        help="compare two logs of served results",
        description="Reads two logs (CSV, JSONL or Parquet; one row per shown item: "
        "user_id, item_id, timestamp in Unix seconds, outcome columns) and prints the "
        "lift of every metric with its interval, by a bootstrap over users.",
    )
    parser.add_argument("control", metavar="CONTROL")
    parser.add_argument("treatment", metavar="TREATMENT")
    parser.add_argument(
        "--outcomes",
        metavar="NAME,...",
        help="outcome columns, the first says what was consumed (default: all others "
        "that hold numbers or booleans)",
    )
    parser.add_argument(
        "--allow-overlap",
        action="store_true",
        help="a user of both logs counts as one in each, instead of being an error",
    )
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from tfrs_himirec.evaluation import ab_test, served_logs

    _check(args)
    names = (args.outcomes or "").split(",")
    outcomes = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    control = served_logs.read(args.control, outcomes)
    treatment = served_logs.read(args.treatment, outcomes)
    found = ab_test.compare(
        control,
        treatment,
        args.confidence,
        args.samples,
        args.seed,
        args.allow_overlap,
    )
    summary = {
        "control_users": control["user_id"].nunique(),
        "treatment_users": treatment["user_id"].nunique(),
        "confidence": args.confidence,
        "samples": args.samples,
        "seed": args.seed,
        "metrics": [_finite(dataclasses.asdict(one)) for one in found],
    }
    options.print_summary(args, summary, _table(found, args.confidence))
    return 0


def _check(args: argparse.Namespace) -> None:
    if not 0 < args.confidence < 1:
        raise errors.HimirecError(
            f"--confidence: expected a number between 0 and 1, got {args.confidence}"
        )
    if args.samples < 100:
        raise errors.HimirecError(f"--samples: at least 100, got {args.samples}")
    if args.seed < 0:
        raise errors.HimirecError(f"--seed: expected at least 0, got {args.seed}")


def _finite(values: dict) -> dict:
    """JSON has no infinity: the lift over a control of zero is null."""
    return {
        name: None if isinstance(v, float) and not math.isfinite(v) else v
        for name, v in values.items()
    }


def _table(found: Sequence["ab_test.Comparison"], confidence: float) -> str:
    """Aligned columns; the first is text."""
    interval = f"{100 * confidence:g} % interval of the lift"
    rows = [["metric", "control", "treatment", "lift", interval, "p"]]
    rows += [[one.metric, *_cells(one)] for one in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        row[0].ljust(widths[0])
        + "".join(f"  {c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def _cells(one: "ab_test.Comparison") -> list[str]:
    cells = [f"{one.control:.4f}", f"{one.treatment:.4f}"]
    cells.append(f"{one.lift_percent:+.2f} %")
    cells.append(f"[{one.low_percent:+.2f} %, {one.high_percent:+.2f} %]")
    cells.append(f"{one.p_value:.4f}")
    return ["-" if "nan" in cell or "inf" in cell else cell for cell in cells]
