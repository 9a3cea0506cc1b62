"""What a model answered, as plain values."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

Id = int | str


@dataclasses.dataclass(frozen=True)
class Interest:
    """A circle, as path text such as `2/4/4`, that was generated for a user."""

    circle: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Item:
    """A retrieved item; `circle` is None where the popular list filled the place."""

    item_id: Id
    score: float
    circle: str | None


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """The answer for one user, interests and items best first."""

    interests: list[Interest]
    items: list[Item]


def recommendations(outputs: Mapping[str, list[Any]]) -> list[Recommendation]:
    return [
        Recommendation(
            mined,
            items(ids, scores, [beams[i] if i >= 0 else None for i in which]),
        )
        for mined, ids, scores, beams, which in zip(
            interests(outputs),
            outputs["item_ids"],
            outputs["scores"],
            outputs["circles"],
            outputs["result_interest"],
            strict=True,
        )
    ]


def interests(outputs: Mapping[str, list[Any]]) -> list[list[Interest]]:
    """A beam without a circle, "", is left out."""
    return [
        [Interest(*pair) for pair in zip(circles, values, strict=True) if pair[0]]
        for circles, values in zip(
            outputs["circles"], outputs["interest_probabilities"], strict=True
        )
    ]


def items(
    ids: Sequence[Id], scores: Sequence[float], circles: Sequence[str | None]
) -> list[Item]:
    """A place that could not be filled, id -1 or "", is left out."""
    return [
        Item(*values)
        for values in zip(ids, scores, circles, strict=True)
        if values[0] not in (-1, "")
    ]
