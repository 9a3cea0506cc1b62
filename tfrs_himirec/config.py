"""Settings of a run: one YAML file, checked before anything starts."""

import inspect
import pathlib
from typing import Any, Literal

import pydantic
import yaml

from tfrs_himirec import errors, files


class Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Columns(Settings):
    """Column names of a log that does not use the names of the `raw/` contract."""

    user_id: str = "user_id"
    item_id: str = "item_id"
    timestamp: str = "timestamp"
    weight: str = "weight"
    title: str = "title"
    text: str = "text"
    tags: str = "tags"


class Synth(Settings):
    """Size of the generated data set."""

    users: int = pydantic.Field(2000, ge=1)
    items: int = pydantic.Field(2000, ge=1)
    events: int = pydantic.Field(100_000, ge=1)
    seed: int = 7


class Data(Settings):
    """Where the interactions come from.

    `columns` renames the columns of CSV, JSONL and Parquet logs; `items` names their
    item file where it does not stand beside the log. `on_bad_rows`:
    `error` stops at the first malformed row, `reject` puts malformed rows into
    `raw/rejected/` with a reason and goes on.
    """

    source: Literal["synth", "movielens", "csv", "jsonl", "parquet"] = "parquet"
    raw: str | None = None
    items: str | None = None
    columns: Columns = Columns()
    on_bad_rows: Literal["error", "reject"] = "error"
    synth: Synth = Synth()


class Embedding(Settings):
    """Item vectors that the tree is built from.

    `text`: TF-IDF + SVD, or a keras-nlp preset when `preset` names one;
    `behavior`: PPMI of co-occurrence within `window` events + SVD; `both`: the two
    side by side, each scaled to unit length; `vectors`: the user's own, a Parquet
    file with `item_id` and `vector`.
    """

    kind: Literal["text", "behavior", "both", "vectors"] = "both"
    dim: int = pydantic.Field(64, ge=2)
    window: int = pydantic.Field(10, ge=1)
    preset: str | None = None
    vectors: str | None = None


class Tree(Settings):
    """Algorithm 1 of the paper: k clusters, recursion above c items.

    `balance` > 0 limits a cluster to `(1 + balance) * items / k` items.
    `sample` items at most are used to fit the centroids of one circle.
    """

    k: int = pydantic.Field(4, ge=2, le=1024)
    c: int = pydantic.Field(250, ge=1)
    seed: int = 7
    balance: float = pydantic.Field(0.0, ge=0.0)
    sample: int = pydantic.Field(100_000, ge=1)
    max_depth: int = pydantic.Field(12, ge=1)


class Prepare(Settings):
    """Cleaning, splitting and the tree. Protocols: `docs/evaluation.md`.

    `min_item_events`: 0 keeps every item of the item file, also without any event.
    """

    min_item_events: int = pydantic.Field(5, ge=0)
    min_user_events: int = pydantic.Field(2, ge=1)
    protocol: Literal["A", "B"] = "A"
    targets: int = pydantic.Field(10, ge=1)
    test_fraction: float = pydantic.Field(0.2, gt=0, lt=1)
    validation_fraction: float = pydantic.Field(0.1, gt=0, lt=1)
    seed: int = 7
    buckets: int = pydantic.Field(4, ge=1)
    embedding: Embedding = Embedding()
    tree: Tree = Tree()


class Encoder(Settings):
    """The history encoder, a single-vector model of its own; both stages read it.

    Lengths in events, `learning_rate` of Adam. `item_negatives`: 0 for the softmax
    over the whole library. `distance_decay`: weight of a next item relative to the
    one before it.
    """

    dim: int = pydantic.Field(64, ge=2)
    layers: int = pydantic.Field(2, ge=1)
    heads: int = pydantic.Field(2, ge=1)
    dropout: float = pydantic.Field(0.2, ge=0, lt=1)
    short_term: int = pydantic.Field(128, ge=1)
    long_term: int = pydantic.Field(32, ge=0)
    next_items: int = pydantic.Field(10, ge=1)
    item_negatives: int = pydantic.Field(0, ge=0)
    distance_decay: float = pydantic.Field(0.9, gt=0, le=1)
    epochs: int = pydantic.Field(12, ge=1)
    patience: int = pydantic.Field(3, ge=1)
    batch_size: int = pydantic.Field(32, ge=1)
    learning_rate: float = pydantic.Field(2e-3, gt=0)
    seed: int = 7


class Generator(Settings):
    """Stage 1, the decoder of circle paths on the states of the encoder.

    `cuts` are supervised positions of a window, `paths` sampled targets of each.
    `distill`: weight of what the encoder's user vector gives to each circle as a
    target, beside the circles of the next items; libraries of more than
    `distill_items` do without.
    """

    layers: int = pydantic.Field(1, ge=1)
    heads: int = pydantic.Field(2, ge=1)
    dropout: float = pydantic.Field(0.2, ge=0, lt=1)
    cuts: int = pydantic.Field(16, ge=1)
    paths: int = pydantic.Field(2, ge=1)
    stop: Literal["leaf", "adaptive"] = "leaf"
    spread: float = pydantic.Field(0.5, gt=0, le=1)
    distill: float = pydantic.Field(0.5, ge=0, le=1)
    distill_items: int = pydantic.Field(20_000, ge=0)
    distance_decay: float = pydantic.Field(0.9, gt=0, le=1)
    epochs: int = pydantic.Field(5, ge=1)
    patience: int = pydantic.Field(2, ge=1)
    batch_size: int = pydantic.Field(32, ge=1)
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    seed: int = 7


class Towers(Settings):
    """Stage 2. `loss`: `softmax` over the circle, or `bce`, the paper's Eq. 3.

    `history`: `split`, a circle's user vector reads the events in that circle;
    `unified`, it reads the newest events of all (the ablation). `relations`: width of
    the item-to-item part, 0 for none; it also reads the `recent` newest events.
    `circles`: which are trained most, `leaf` or, for `recommend.circles: cover`,
    `widest`.
    """

    loss: Literal["softmax", "bce"] = "softmax"
    history: Literal["split", "unified"] = "split"
    circles: Literal["leaf", "widest"] = "leaf"
    split_history: int = pydantic.Field(50, ge=1)
    relations: int = pydantic.Field(64, ge=0)
    recent: int = pydantic.Field(10, ge=1)
    cuts: int = pydantic.Field(32, ge=1)
    negatives: int = pydantic.Field(256, ge=1)
    full_softmax_items: int = pydantic.Field(20_000, ge=0)
    dropout: float = pydantic.Field(0.2, ge=0, lt=1)
    epochs: int = pydantic.Field(5, ge=1)
    patience: int = pydantic.Field(2, ge=1)
    batch_size: int = pydantic.Field(32, ge=1)
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    seed: int = 7


class Recommend(Settings):
    """Inference: beams, results per request, and how interests are merged.

    `circles`: `cover` generates the widest circles first, then the most probable of
    those inside them; `prefixes` circles of any level by the probability of their
    path, `complete` only paths that end (at a leaf, or with the stop token).
    """

    circles: Literal["complete", "prefixes", "cover"] = "prefixes"
    beams: int = pydantic.Field(6, ge=1)
    results: int = pydantic.Field(100, ge=1)
    merge: Literal["joint", "quota"] = "joint"
    alpha: float = pydantic.Field(1.0, ge=0)
    popular: int = pydantic.Field(2000, ge=1)


class Evaluate(Settings):
    """Which rows `evaluation.json` gets."""

    beams: tuple[int, ...] = (2, 4, 6)
    at: tuple[int, ...] = (20, 50)
    batch_size: int = pydantic.Field(64, ge=1)
    markov_window: int = pydantic.Field(10, ge=1)
    markov_recency: float = pydantic.Field(0.8, gt=0, le=1)


class Export(Settings):
    """`index`: `exact` (stock TensorFlow ops) or `scann` above `scann_items`."""

    name: str = "himirec"
    index: Literal["exact", "scann"] = "exact"
    scann_items: int = pydantic.Field(20_000, ge=1)
    warmup_records: int = pydantic.Field(4, ge=1, le=250)


class Run(Settings):
    """Everything `himirec run` needs; saved with every artefact."""

    run_dir: str = "runs/run"
    data: Data = Data()
    prepare: Prepare = Prepare()
    encoder: Encoder = Encoder()
    generator: Generator = Generator()
    towers: Towers = Towers()
    recommend: Recommend = Recommend()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()


def load(path: files.Path) -> Run:
    """Reads and checks a configuration file.

    Raises:
      HimirecError: the file is missing or not YAML, a key is unknown, or a value
        is out of range; the message names the key.
    """
    try:
        values = yaml.safe_load(pathlib.Path(path).read_text()) or {}
    except FileNotFoundError:
        raise errors.HimirecError(f"{path}: no such configuration file") from None
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise errors.HimirecError(f"{path}: not valid YAML: {line}") from None
    try:
        return Run.model_validate(values)
    except pydantic.ValidationError as error:
        raise errors.HimirecError(f"{path}: {_explain(error)}") from None


def _explain(error: pydantic.ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}; remove it or correct it (docs/configuration.md)"
    return f"{key}: {first['msg']}, received {first['input']!r}"


def reference() -> str:
    """Returns the text of docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "One YAML file sets up a run; every key has a default and an unknown key is an",
        "error. Made by `python -m tfrs_himirec.config`.",
    ]
    for path, model in _sections(Run, ""):
        lines += ["", f"## {path or 'top level'}", "", _paragraph(model)]
        lines += ["", "| key | type | default |", "| --- | --- | --- |"]
        lines += [
            f"| `{name}` | {_type_name(field.annotation)} | `{field.default}` |"
            for name, field in model.model_fields.items()
            if not _is_section(field.annotation)
        ]
    return "\n".join(lines) + "\n"


def _sections(model: type[Settings], path: str):
    yield path, model
    for name, field in model.model_fields.items():
        if _is_section(field.annotation):
            section: Any = field.annotation
            yield from _sections(section, f"{path}.{name}".lstrip("."))


def _is_section(annotation) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _type_name(annotation) -> str:
    if isinstance(annotation, type):
        return annotation.__name__
    text = str(annotation).replace("typing.", "").removeprefix("Literal")
    return text.replace("|", "or").strip("[]").replace("'", "`")


def _paragraph(model: type[Settings]) -> str:
    return inspect.cleandoc(model.__doc__ or "")


if __name__ == "__main__":
    print(reference(), end="")
