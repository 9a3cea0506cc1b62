"""`himirec import`: logs and metadata become RUN/raw/."""

import argparse
import json
import pathlib

from tfrs_himirec import config, errors
from tfrs_himirec.raw import importer

_DESCRIPTION = """\
Imports a log into RUN/raw/. Stops at the first malformed row unless told to reject.

movielens        ml-1m.zip, ml-100k.zip or their folders
csv, jsonl,      a log, or a directory with interactions.EXT and perhaps items.EXT;
parquet          a Parquet log may be a folder of part files, read by name

Timestamps are Unix seconds or ISO-8601 times (UTC where no zone is given); weight is
optional; tags are a list, or text split at "|".
"""


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "import",
        help="import MovieLens, CSV, JSONL or Parquet logs",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", choices=("movielens", "csv", "jsonl", "parquet"))
    parser.add_argument("--raw", required=True, metavar="PATH", help="the log to read")
    parser.add_argument("--items", metavar="PATH", help="item file, if elsewhere")
    parser.add_argument("--run-dir", required=True, metavar="RUN")
    for name in config.Columns.model_fields:
        parser.add_argument(
            f"--{name.replace('_', '-')}-column",
            metavar="NAME",
            help=f"column that holds {name} (default: {name})",
        )
    parser.add_argument(
        "--on-bad-rows",
        choices=("error", "reject"),
        default="error",
        help="reject: set malformed rows aside in RUN/raw/rejected/ (default: error)",
    )
    parser.add_argument("--force", action="store_true", help="replace RUN/raw/")
    parser.add_argument("--json", action="store_true", help="print a JSON summary")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    out = pathlib.Path(args.run_dir) / "raw"
    data = config.Data(
        source=args.source,
        raw=args.raw,
        items=args.items,
        columns=_columns(args),
        on_bad_rows=args.on_bad_rows,
    )
    importer.refuse_existing(out, args.force)
    print_summary(importer.run(data, out), args.json)
    return 0


def print_summary(summary: dict, as_json: bool) -> None:
    """Prints what an import wrote."""
    if as_json:
        print(json.dumps(summary))
        return
    counts = ", ".join(
        f"{summary[name]:,} {name}" for name in ("users", "items", "interactions")
    )
    print(f"{summary['out']}: {counts}; {summary['rejected']:,} rows rejected")


def _columns(args: argparse.Namespace) -> config.Columns:
    given = {
        name: value
        for name in config.Columns.model_fields
        if (value := getattr(args, f"{name}_column")) is not None
    }
    if args.source == "movielens" and (given or args.items):
        raise errors.HimirecError(
            "movielens has columns and items of its own; leave out --items and the "
            "--…-column options"
        )
    return config.Columns(**given)
