"""`himirec demo`: one user of a finished run, through a real gRPC server."""

import argparse
import pathlib
import re
import subprocess
import sys

from tfrs_himirec import errors
from tfrs_himirec.cli import recommend_command

_READY = re.compile(r"serving \S+ version \d+ on (\S+:\d+)")


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="serve a finished run and recommend to one of its test users",
        description="Starts `himirec serve` on a free port, sends one gRPC Predict "
        "with the history of a test user, prints history, interests and items, and "
        "stops the server.",
    )
    parser.add_argument("--run-dir", default="runs/demo", metavar="RUN")
    parser.add_argument(
        "--user", type=int, default=0, metavar="N", help="which test user, from 0"
    )
    parser.add_argument("--results", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    history = _history(args.run_dir, args.user)
    models = str(pathlib.Path(args.run_dir) / "models")
    command = [sys.executable, "-m", "tfrs_himirec.cli.main", "serve"]
    command += ["--model-base", models, "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        request = argparse.Namespace(
            target=_wait_until_ready(server),
            history=[history],
            exclude=history,
            model="himirec",
            results=args.results,
            timeout=30.0,
            catalog=args.run_dir,
            json=args.json,
        )
        return recommend_command.run(request)
    finally:
        server.terminate()
        server.communicate()


def _history(run_dir: str, user: int) -> list[str]:
    """Returns the item ids of a test user, oldest first, as text."""
    from tfrs_himirec.evaluation import users
    from tfrs_himirec.schema import catalog

    histories = users.load(run_dir, "test", user + 1).histories
    if not 0 <= user < len(histories):
        raise errors.HimirecError(
            f"--user: {user} is not one of the {len(histories)} test users of {run_dir}"
        )
    items = catalog.load(run_dir)
    return [str(item) for item in items.item_ids[items.places[histories[user]]]]


def _wait_until_ready(server: subprocess.Popen) -> str:
    """Returns the address that the server logs when it is ready."""
    lines = []
    for line in server.stderr or ():
        lines.append(line.strip())
        if found := _READY.search(line):
            return found.group(1)
    raise errors.HimirecError(f"the server did not start: {' | '.join(lines[-3:])}")
