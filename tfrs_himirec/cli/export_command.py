"""`himirec export`: a SavedModel that TF Serving loads."""

import argparse

from tfrs_himirec.cli import options


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "export",
        help="write a SavedModel for TF Serving",
        description="Writes the next version under the model base, with warm-up "
        "records and himirec.json.",
    )
    options.add_run_options(parser)
    parser.add_argument("--model-base", metavar="DIR", help="default: RUN/models/NAME")
    parser.add_argument(
        "--index",
        choices=("exact", "scann"),
        help="exact: stock TensorFlow ops; scann: ScaNN layers for large circles",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    work = options.pipeline_of(args)
    if args.index:
        export = work.settings.export.model_copy(update={"index": args.index})
        work.settings = work.settings.model_copy(update={"export": export})
    base = args.model_base or work.model_base
    work.export(args.force, base)
    options.print_summary(args, {"model_base": str(base)}, f"model: {base}")
    return 0
