"""`himirec serve`: a gRPC server for exported models."""

import argparse
from typing import Any


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="serve exported models over TF Serving's gRPC API",
        description="Serves the newest version of each model until SIGTERM.",
    )
    parser.add_argument(
        "--model-base",
        required=True,
        metavar="DIR",
        help="folder of versions (its name is the model's), or folder of models",
    )
    parser.add_argument("--port", type=int, default=8500, help="0 takes a free one")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default %(default)s: this machine only, because "
        "requests are not authenticated; 0.0.0.0 opens it to the network)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="requests in work at one time (default: four per CPU)",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from serving import server

    server.run(args.model_base, args.host, args.port, args.workers)
    return 0
