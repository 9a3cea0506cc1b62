"""Options that several commands share."""

import argparse
import json
import pathlib

from tfrs_himirec import pipeline


def add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML settings")
    parser.add_argument(
        "--run-dir", metavar="RUN", help="run directory (default: run_dir of --config)"
    )
    parser.add_argument(
        "--force", action="store_true", help="run even when up to date, replacing"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON summary")


def pipeline_of(args: argparse.Namespace) -> pipeline.Pipeline:
    """Makes the pipeline of a command's options.

    Without --config, the settings last used in the run directory are used.

    Raises:
      HimirecError: the settings are missing or invalid.
    """
    run = pipeline.load_settings(args.config, args.run_dir)
    return pipeline.Pipeline(run, run.run_dir, getattr(args, "beam_args", None))


def print_summary(args: argparse.Namespace, summary: dict, text: str) -> None:
    """Prints one JSON object with --json, `text` otherwise."""
    print(json.dumps(summary) if args.json else text)


def read_summary(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())
