"""A generated data set: topics, titles, and users with several interests.

Users hold two heavy interests (deep and narrow: one series, followed item by item)
and two light ones (shallow and broad: anything of a main topic). How much each
counts drifts over a user's life time, and a session stays with one interest.
"""

import dataclasses
import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_himirec import config, errors
from tfrs_himirec.raw import topics
from tfrs_himirec.schema import raw

_HEAVY, _LIGHT = 2, 2
_SESSION_EVENTS = 6
_JUMP = 0.15  # share of a heavy interest's events that leave the order of the series
_DRIFT = 0.3  # width of an interest's bloom, as a share of the user's life time
_FIRST_SECOND = 1_704_067_200  # 2024-01-01 UTC
_SPAN = 180 * 86_400
_ITEMS_A_SERIES = 40
_NOUNS = 4


def generate(settings: config.Synth) -> tuple[pa.Table, pa.Table]:
    """Makes both tables of `raw/`; the same settings give the same tables.

    Returns:
      Interactions in time order, exactly `settings.events` rows in which every user
      appears, and exactly `settings.items` items.

    Raises:
      HimirecError: there are fewer events than users.
    """
    if settings.events < settings.users:
        raise errors.HimirecError(
            f"--events {settings.events}: every one of {settings.users} users needs an "
            "event; raise --events or lower --users"
        )
    rng = np.random.default_rng(settings.seed % 2**63)
    library = _library(settings.items, rng)
    user, phase = _life_times(settings, rng)
    interest = _interests(user, phase, settings.users, rng)
    item = _items_of(user, interest, settings.users, library, rng)
    timestamp = _timestamps(user, rng)
    order = np.argsort(timestamp, kind="stable")
    interactions = pa.table(
        {
            "user_id": _ids("user", settings.users).take(pa.array(user[order])),
            "item_id": _ids("item", settings.items).take(pa.array(item[order])),
            "timestamp": timestamp[order],
            "weight": np.ones(settings.events, np.float32),
        },
        schema=raw.interactions_schema("string", "string"),
    )
    return interactions, _items_table(library, rng)


@dataclasses.dataclass(frozen=True)
class _Series:
    """One leaf of the topic hierarchy."""

    main: str
    sub: str
    name: str
    nouns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Library:
    """Items grouped by series; in a series the most popular stand first.

    Attributes:
      series: every series, those of a main topic side by side.
      main: int64 `[series]`, number of the main topic.
      of_item: int64 `[items]`, series of each item.
      grouped: int64 `[items]`, the items one series after the other.
    """

    series: list[_Series]
    main: np.ndarray
    of_item: np.ndarray
    grouped: np.ndarray

    @functools.cached_property
    def size(self) -> np.ndarray:
        """int64 `[series]`."""
        return np.bincount(self.of_item, minlength=len(self.series))

    @functools.cached_property
    def start(self) -> np.ndarray:
        """int64 `[series]`: first place in `grouped`."""
        return np.cumsum(self.size) - self.size


def _library(items: int, rng: np.random.Generator) -> _Library:
    branch = int(np.clip(np.sqrt(items / (len(topics.TOPICS) * _ITEMS_A_SERIES)), 2, 5))
    series = [
        _Series(main, sub, name, tuple(nouns.split(", ")))
        for main, subs in topics.TOPICS.items()
        for sub, (names, nouns) in list(subs.items())[:branch]
        for name in names.split(", ")[:branch]
    ]
    main = np.repeat(np.arange(len(topics.TOPICS)), branch**2)
    of_item = rng.integers(len(series), size=items)
    shuffled = rng.permutation(items)  # else the popular items had the low ids
    grouped = shuffled[np.argsort(of_item[shuffled], kind="stable")]
    return _Library(series, main, of_item, grouped)


def _life_times(
    settings: config.Synth, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the user and the phase in `[0, 1)` of each event, user by user."""
    activity = rng.lognormal(sigma=0.8, size=settings.users)
    extra = settings.events - settings.users
    counts = 1 + rng.multinomial(extra, activity / activity.sum())
    user = np.repeat(np.arange(settings.users), counts)
    return user, _rank(user) / counts[user]


def _rank(group: np.ndarray) -> np.ndarray:
    """Place of each event inside its run of equal groups: `[events]`."""
    first = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))


def _interests(
    user: np.ndarray, phase: np.ndarray, users: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns which of the user's interests each event serves, one a session."""
    new = (rng.random(len(user)) < 1 / _SESSION_EVENTS) | (
        np.diff(user, prepend=-1) > 0
    )
    heavy = rng.beta(0.6, 0.6, size=(users, 1))
    share = np.concatenate(
        [np.repeat(heavy, _HEAVY, axis=1), np.repeat(1 - heavy, _LIGHT, axis=1)], axis=1
    )
    bloom = rng.uniform(-0.2, 1.2, size=share.shape)
    at = user[new]
    distance = (phase[new][:, None] - bloom[at]) / _DRIFT
    weight = (share[at] + 1e-6) * np.exp(-0.5 * distance**2)  # [sessions, interests]
    edges = weight.cumsum(axis=1)
    drawn = rng.random(len(at)) * edges[:, -1]
    chosen = (drawn[:, None] > edges[:, :-1]).sum(axis=1)
    return chosen[np.cumsum(new) - 1]


def _items_of(
    user: np.ndarray,
    interest: np.ndarray,
    users: int,
    library: _Library,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns the item of each event, int64 `[events]`."""
    light = interest >= _HEAVY
    held = _held_series(users, library, rng)[user, interest]  # [events]
    series = np.where(light, _series_beside(held, library, rng), held)
    size = library.size[series]
    place = _zipf(size, rng)
    follows = ~light & (rng.random(len(user)) >= _JUMP)
    place = np.where(follows, _followed(user, interest, held, library, rng), place)
    return library.grouped[library.start[series] + place % size]


def _held_series(users: int, library: _Library, rng: np.random.Generator) -> np.ndarray:
    """Series of every interest, `[users, interests]`; a light one stands for its
    main topic. Only series that have items are drawn, popular ones more often.
    """
    filled = rng.permutation(np.flatnonzero(library.size))
    share = 1 / np.sqrt(np.arange(1, len(filled) + 1))
    return rng.choice(filled, size=(users, _HEAVY + _LIGHT), p=share / share.sum())


def _series_beside(
    held: np.ndarray, library: _Library, rng: np.random.Generator
) -> np.ndarray:
    """A series of the same main topic, larger ones more often: `[events]`."""
    items = np.bincount(library.main, weights=library.size).astype(np.int64)
    first = np.cumsum(items) - items
    main = library.main[held]
    place = first[main] + rng.integers(items[main])
    return library.of_item[library.grouped[place]]


def _zipf(size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places in `[0, size)` with `P(place) ~ log((place + 2) / (place + 1))`."""
    drawn = (size + 1.0) ** rng.random(len(size))
    return np.minimum(drawn.astype(np.int64), size) - 1


def _followed(
    user: np.ndarray,
    interest: np.ndarray,
    held: np.ndarray,
    library: _Library,
    rng: np.random.Generator,
) -> np.ndarray:
    """Next place of a series that the user follows, across sessions: `[events]`."""
    follower = user * (_HEAVY + _LIGHT) + interest
    order = np.argsort(follower, kind="stable")
    first = np.diff(follower[order], prepend=-1) > 0
    step = rng.choice([1, 2], size=len(user), p=[0.8, 0.2])
    total = np.cumsum(step)
    runs = np.cumsum(first) - 1
    entry = _zipf(library.size[held[order][first]], rng)
    place = np.empty(len(user), np.int64)
    place[order] = entry[runs] + total - total[first][runs]
    return place


def _timestamps(user: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unix seconds, increasing inside each user's run of events: `[events]`."""
    gap = rng.lognormal(mean=np.log(300), sigma=2.0, size=len(user))
    rank = _rank(user)
    elapsed = np.cumsum(gap)
    first = np.flatnonzero(rank == 0)
    elapsed -= elapsed[first][user]
    last = np.append(first[1:], len(user)) - 1
    begin, end = np.sort(rng.random((2, len(first))), axis=0) * _SPAN
    scale = (end - begin) / np.maximum(elapsed[last], 1)
    seconds = begin[user] + elapsed * np.minimum(scale, 100)[user]
    return _FIRST_SECOND + seconds.astype(np.int64) + rank


def _ids(prefix: str, count: int) -> pa.Array:
    width = 5 if prefix == "user" else 6
    numbers = pa.array(np.arange(count)).cast(pa.string())
    return pc.binary_join_element_wise(prefix, pc.utf8_lpad(numbers, width, "0"), "-")


def _items_table(library: _Library, rng: np.random.Generator) -> pa.Table:
    series = pa.array(library.of_item)
    main, sub, name = (
        pa.array([getattr(one, field) for one in library.series]).take(series)
        for field in ("main", "sub", "name")
    )
    items = len(series)
    nouns = pa.array([noun for one in library.series for noun in one.nouns])
    chosen = rng.integers(_NOUNS, size=items)
    second = (chosen + rng.integers(1, _NOUNS, size=items)) % _NOUNS
    noun = nouns.take(pa.array(library.of_item * _NOUNS + chosen))
    other = nouns.take(pa.array(library.of_item * _NOUNS + second))
    adjectives = pa.array(topics.ADJECTIVES.split(", "))
    adjective = adjectives.take(pa.array(rng.integers(len(adjectives), size=items)))
    part = np.empty(items, np.int64)
    part[library.grouped] = np.arange(items) - np.repeat(library.start, library.size)
    number = pa.array(part + 1).cast(pa.string())
    title = _join(adjective, " ", noun, " from ", name, ", part ", number)
    text = _join(
        adjective,
        " ",
        noun,
        " and ",
        other,
        " about ",
        sub,
        ": ",
        name,
        " in ",
        main,
        ".",
    )
    tags = pa.ListArray.from_arrays(
        pa.array(np.arange(items + 1) * 3, pa.int32()),
        pa.concat_arrays([main, sub, name]).take(
            pa.array(np.arange(3 * items).reshape(3, items).T.ravel())
        ),
    )
    return pa.table(
        [_ids("item", items), title, text, tags], schema=raw.items_schema("string")
    )


def _join(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")
