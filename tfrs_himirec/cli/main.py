"""The `himirec` command; every subcommand is a module with `register` and `run`."""

import argparse
import importlib
import logging
import sys

import absl.logging

import tfrs_himirec
from tfrs_himirec import errors

_COMMANDS = (
    "run",
    "import",
    "synth",
    "prepare",
    "train",
    "evaluate",
    "benchmark",
    "ab-test",
    "export",
    "serve",
    "recommend",
    "demo",
)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="himirec",
        description="Hierarchical multi-interest retrieval, from logs to gRPC.",
    )
    result.add_argument("--version", action="version", version=tfrs_himirec.__version__)
    subparsers = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in _COMMANDS:
        module = importlib.import_module(
            f"tfrs_himirec.cli.{name.replace('-', '_')}_command"
        )
        module.register(subparsers)
    return result


def _quieten_libraries() -> None:
    """Their notes are for their own developers; warnings of ours stay visible."""
    absl.logging.set_verbosity(absl.logging.ERROR)
    for name in ("apache_beam", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns 0, or 2 after one line on standard error."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    _quieten_libraries()
    commands = parser()
    args, args_of_beam = commands.parse_known_args(arguments)
    if args_of_beam and not getattr(args, "accepts_beam_args", False):
        commands.error(f"unrecognized arguments: {' '.join(args_of_beam)}")
    args.beam_args = args_of_beam
    try:
        return args.handler(args)
    except errors.HimirecError as error:
        print(f"himirec {args.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
