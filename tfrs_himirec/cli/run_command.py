"""`himirec run`: every stage, from raw logs to an exported model."""

import argparse

from tfrs_himirec.cli import options

_DESCRIPTION = """\
Goes through import, prepare, train, evaluate and export. A stage whose inputs and
settings have not changed is skipped; a killed run goes on where it stopped. Options
that are not listed here go to Apache Beam (for example --runner=DataflowRunner)."""


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "run",
        help="all stages, from logs to a SavedModel",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_run_options(parser)
    parser.add_argument("--raw", metavar="PATH", help="the log (data.raw of --config)")
    parser.set_defaults(handler=run, accepts_beam_args=True)


def run(args: argparse.Namespace) -> int:
    work = options.pipeline_of(args)
    if args.raw:
        data = work.settings.data.model_copy(update={"raw": args.raw})
        work.settings = work.settings.model_copy(update={"data": data})
    work.all(args.force)
    evaluation = work.run_dir / "evaluation.json"
    summary = {
        "run_dir": str(work.run_dir),
        "model_base": str(work.model_base),
        "evaluation": options.read_summary(evaluation),
    }
    options.print_summary(
        args, summary, f"model: {work.model_base}\nevaluation: {evaluation}"
    )
    return 0
