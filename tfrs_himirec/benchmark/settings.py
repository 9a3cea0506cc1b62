"""Settings of a benchmark: one YAML file in `benchmarks/`."""

import pathlib
from typing import Any, Literal

import pydantic
import yaml

from tfrs_himirec import config, errors, files

MODELS = (
    "most_popular",
    "markov",
    "itemknn",
    "ease",
    "ease_recency",
    "transformer",
    "mind",
    "comirec_sa",
    "comirec_dr",
    "divide_and_conquer",
    "himirec",
)
"""Rows of a benchmark, in the order of its table."""

VARIANTS = (
    "no_sub_libraries",
    "no_behavior_splitting",
    "leaf_stop",
    "adaptive_stop",
    "tree_text",
    "tree_behavior",
    "tree_both",
)
"""HimiRec with one thing changed, see `docs/evaluation.md`."""


class Benchmark(config.Settings):
    """What is compared.

    `config` is the run configuration of every HimiRec row, relative to the file. `base`
    fixes settings of a model, `search` replaces the ranges that it is tuned over; a
    model in `skip` is left out, with the reason. `samples` are those of the bootstrap.
    """

    config: str
    name: str
    seeds: tuple[int, ...] = (7, 8, 9)
    protocols: tuple[Literal["A", "B"], ...] = ("A", "B")
    models: tuple[str, ...] = MODELS
    variants: tuple[str, ...] = VARIANTS
    base: dict[str, dict[str, Any]] = {}
    search: dict[str, dict[str, tuple]] = {}
    skip: dict[str, str] = {}
    samples: int = pydantic.Field(10_000, ge=100)

    @pydantic.model_validator(mode="after")
    def _known(self) -> "Benchmark":
        for name in (*self.models, *self.base, *self.search):
            if name not in MODELS:
                raise ValueError(f"unknown model {name!r}; known are {MODELS}")
        for name in self.variants:
            if name not in VARIANTS:
                raise ValueError(f"unknown variant {name!r}; known are {VARIANTS}")
        return self


def load(path: files.Path) -> tuple[Benchmark, config.Run]:
    """Reads a benchmark and the run configuration it names.

    Raises:
      HimirecError: a file is missing or invalid; the message names the key.
    """
    path = pathlib.Path(path)
    try:
        found = Benchmark.model_validate(yaml.safe_load(path.read_text()) or {})
    except FileNotFoundError:
        raise errors.HimirecError(f"{path}: no such benchmark file") from None
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise errors.HimirecError(f"{path}: not valid YAML: {line}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "benchmark"
        raise errors.HimirecError(f"{path}: {key}: {first['msg']}") from None
    return found, config.load(path.parent / found.config)
