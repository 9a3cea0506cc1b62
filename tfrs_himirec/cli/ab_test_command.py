"""`himirec ab-test`: two logs of served results, with outcomes."""

import argparse
import dataclasses
import json
import math

from tfrs_himirec import errors


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
        help="outcome columns, the first says what was consumed (default: all others)",
    )
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from tfrs_himirec.evaluation import ab_test

    if not 0 < args.confidence < 1:
        raise errors.HimirecError(
            f"--confidence: expected a number between 0 and 1, got {args.confidence}"
        )
    if args.samples < 100:
        raise errors.HimirecError(f"--samples: at least 100, got {args.samples}")
    outcomes = args.outcomes.split(",") if args.outcomes else None
    control = ab_test.read(args.control, outcomes)
    treatment = ab_test.read(args.treatment, outcomes)
    found = ab_test.compare(
        control, treatment, args.confidence, args.samples, args.seed
    )
    if args.json:
        print(json.dumps([_finite(dataclasses.asdict(one)) for one in found]))
    else:
        print(_table(found, args.confidence))
    return 0


def _finite(values: dict) -> dict:
    """JSON has no infinity: the lift over a control of zero is null."""
    return {
        name: None if isinstance(v, float) and not math.isfinite(v) else v
        for name, v in values.items()
    }


def _table(found, confidence: float) -> str:
    head = f"{100 * confidence:g} % interval"
    lines = [f"{'metric':24}{'control':>12}{'treatment':>12}{'lift':>9}  {head:20}p"]
    for one in found:
        interval = f"[{100 * one.low:+.2f} %, {100 * one.high:+.2f} %]"
        lines.append(
            f"{one.metric:24}{one.control:12.4f}{one.treatment:12.4f}"
            f"{100 * one.lift:+8.2f}%  {interval:20}{one.p_value:.4f}"
        )
    return "\n".join(lines)
