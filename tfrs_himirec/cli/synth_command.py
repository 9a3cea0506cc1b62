"""`himirec synth`: the embedded data set, in any size."""

import argparse

from tfrs_himirec import config
from tfrs_himirec.cli import import_command
from tfrs_himirec.raw import importer


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "synth",
        help="generate a data set",
        description="Generates users with heavy and light interests in a hierarchy of "
        "topics: interactions.parquet and items.parquet in the directory --out. The "
        "same options give the same data.",
    )
    fields = config.Synth.model_fields
    for name in ("users", "items", "events"):
        parser.add_argument(
            f"--{name}",
            type=_positive,
            default=fields[name].default,
            metavar="N",
            help="exact number (default: %(default)s)",
        )
    parser.add_argument("--seed", type=int, default=fields["seed"].default)
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--force", action="store_true", help="replace DIR")
    parser.add_argument("--json", action="store_true", help="print a JSON summary")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    settings = config.Synth(
        users=args.users, items=args.items, events=args.events, seed=args.seed
    )
    data = config.Data(source="synth", synth=settings)
    importer.refuse_existing(args.out, args.force)
    import_command.print_summary(importer.run(data, args.out), args.json)
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value
