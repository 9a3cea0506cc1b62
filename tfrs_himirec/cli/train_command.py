"""`himirec train encoder`, `generator` and `towers`."""

import argparse

from tfrs_himirec.cli import options


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train the encoder, the generator or the towers",
        description="Trains a model of a prepared run directory; a killed training "
        "goes on after its last whole epoch. TensorBoard logs and metrics.jsonl are "
        "under RUN/training/.",
    )
    parser.add_argument("model", choices=("encoder", "generator", "towers"))
    options.add_run_options(parser)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from tfrs_himirec.training import artefacts

    work = options.pipeline_of(args)
    train = {
        "encoder": work.train_encoder,
        "generator": work.train_generator,
        "towers": work.train_towers,
    }
    train[args.model](args.force)
    weights = artefacts.weights_path(work.run_dir, args.model)
    options.print_summary(args, {"weights": str(weights)}, f"weights: {weights}")
    return 0
