"""`himirec recommend`: asks a running server and prints its answer."""

import argparse
import collections
import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Any

from tfrs_himirec import errors, files

if TYPE_CHECKING:
    from serving import answers

_HISTORY_SHOWN = 10
_TOPICS_SHOWN = 3


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "recommend",
        help="ask a running server for recommendations",
        description="Sends histories to a server and prints interests and items.",
    )
    parser.add_argument(
        "--target", default="localhost:8500", metavar="HOST:PORT", help="the server"
    )
    parser.add_argument(
        "--history",
        action="append",
        required=True,
        type=_ids,
        metavar="ID,ID",
        help="item ids of a user, oldest first; repeat it for more users",
    )
    parser.add_argument(
        "--exclude", type=_ids, metavar="ID,ID", help="item ids not to return"
    )
    parser.add_argument("--model", default="himirec", help="name of the model")
    parser.add_argument(
        "--results", type=_count, default=20, help="items printed (default 20)"
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="seconds (default 10)"
    )
    parser.add_argument(
        "--catalog", metavar="RUN", help="run directory to take titles from"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from serving import client

    titles, topics = _catalog(args.catalog) if args.catalog else ({}, {})
    exclude = None if args.exclude is None else [args.exclude]
    with client.Client(args.target, args.model, args.timeout) as himirec:
        answers = himirec.recommend(args.history, exclude)
    users = [
        _user(history, answer, args.results, titles, topics)
        for history, answer in zip(args.history, answers, strict=True)
    ]
    if args.json:
        print(json.dumps(users, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(_text(user) for user in users))
    return 0


def _ids(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, received {value}")
    return value


def _catalog(run_dir: files.Path) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the title of each item id and the topics of each circle path."""
    import pyarrow as pa
    from pyarrow import parquet

    path = pathlib.Path(run_dir) / "catalog" / "items.parquet"
    try:
        columns = ["item_id", "title", "tags", "path"]
        items = parquet.read_table(path, columns=columns).to_pydict()
    except (OSError, pa.ArrowInvalid):
        raise errors.HimirecError(
            f"{path}: not a catalogue; run `himirec prepare` or correct --catalog"
        ) from None
    ids = map(str, items["item_id"])
    titles = dict(zip(ids, items["title"], strict=True))
    return titles, _topics(items["path"], items["tags"])


def _topics(paths: list[str], tags: list[list[str]]) -> dict[str, str]:
    """Returns the most frequent tags of the items of each circle, as text."""
    counts: dict[str, collections.Counter] = collections.defaultdict(
        collections.Counter
    )
    for path, own in zip(paths, tags, strict=True):
        numbers = path.split("/")
        for level in range(1, len(numbers) + 1):
            counts["/".join(numbers[:level])].update(own or [])
    return {
        path: ", ".join(tag for tag, _ in count.most_common(_TOPICS_SHOWN))
        for path, count in counts.items()
    }


def _user(
    history: list[str],
    answer: "answers.Recommendation",
    results: int,
    titles: dict[str, str],
    topics: dict[str, str],
) -> dict[str, Any]:
    """Returns what is printed for one user."""
    return {
        "history": [{"item_id": i, "title": titles.get(i)} for i in history],
        "interests": [
            dataclasses.asdict(interest) | {"topics": topics.get(interest.circle)}
            for interest in answer.interests
        ],
        "items": [
            dataclasses.asdict(item) | {"title": titles.get(str(item.item_id))}
            for item in answer.items[:results]
        ],
    }


def _text(user: dict[str, Any]) -> str:
    history, items = user["history"], user["items"]
    lines = [f"History, the last {min(len(history), _HISTORY_SHOWN)} of {len(history)}"]
    lines += [f"  {_label(item)}" for item in history[-_HISTORY_SHOWN:]]
    lines += ["", "Interests"]
    lines += [
        f"  {i['probability']:7.2%}  circle {i['circle']:<8} {i['topics'] or ''}"
        for i in user["interests"]
    ]
    lines += ["", "Recommended items"]
    lines += [
        f"  {place:3d}. {_label(item)}  [{_source(item)}]"
        for place, item in enumerate(items, start=1)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _label(item: dict[str, Any]) -> str:
    return f"{item['item_id']}  {item['title'] or ''}".rstrip()


def _source(item: dict[str, Any]) -> str:
    circle = item["circle"]
    return "popular" if circle is None else f"circle {circle}, {item['score']:.4g}"
