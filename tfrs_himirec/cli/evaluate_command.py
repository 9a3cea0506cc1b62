"""`himirec evaluate`: the test users, HimiRec beside the baselines."""

import argparse

from tfrs_himirec.cli import options


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="measure recall on test users",
        description="Writes RUN/evaluation.json: every model on the same test users, "
        "seen items excluded and kept.",
    )
    options.add_run_options(parser)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    work = options.pipeline_of(args)
    work.evaluate(args.force)
    path = work.run_dir / "evaluation.json"
    options.print_summary(args, options.read_summary(path), f"evaluation: {path}")
    return 0
