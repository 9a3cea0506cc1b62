"""`himirec prepare`: the Beam jobs between raw logs and training."""

import argparse

from tfrs_himirec.cli import options


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "prepare",
        help="clean, embed, cluster and split (Apache Beam)",
        description="Turns RUN/raw/ into catalogue, tree, TFRecords and split "
        "histories. Options that are not listed here go to Apache Beam.",
    )
    options.add_run_options(parser)
    parser.set_defaults(handler=run, accepts_beam_args=True)


def run(args: argparse.Namespace) -> int:
    work = options.pipeline_of(args)
    work.prepare(args.force)
    path = work.run_dir / "manifest.json"
    options.print_summary(args, options.read_summary(path), f"manifest: {path}")
    return 0
