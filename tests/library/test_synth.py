import numpy as np
import pandas as pd
import pytest

from tfrs_himirec import config, errors
from tfrs_himirec.raw import synth, topics
from tfrs_himirec.schema import raw

_SETTINGS = config.Synth(users=200, items=400, events=10_000, seed=3)


@pytest.fixture(scope="module")
def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    interactions, items = synth.generate(_SETTINGS)
    return interactions.to_pandas(), items.to_pandas()


@pytest.mark.parametrize(
    ("users", "items", "events"),
    [(3, 5, 10), (1, 1, 1), (7, 2, 7), (200, 400, 10_000), (50, 20_000, 60)],
)
def test_every_count_is_exact(users, items, events):
    settings = config.Synth(users=users, items=items, events=events)
    log, library = synth.generate(settings)
    assert log.schema == raw.interactions_schema("string", "string")
    assert library.schema == raw.items_schema("string")
    assert log.num_rows == events
    assert len(log["user_id"].unique()) == users
    assert library.num_rows == len(library["item_id"].unique()) == items
    assert set(log["item_id"].to_pylist()) <= set(library["item_id"].to_pylist())


def test_the_seed_decides_and_repeats():
    first, again = synth.generate(_SETTINGS), synth.generate(_SETTINGS)
    other = synth.generate(_SETTINGS.model_copy(update={"seed": -1}))
    assert first[0].equals(again[0])
    assert first[1].equals(again[1])
    assert not first[0].equals(other[0])


def test_more_users_than_events_names_the_flag():
    with pytest.raises(errors.HimirecError, match="raise --events"):
        synth.generate(config.Synth(users=10, items=5, events=9))


def test_rows_are_in_time_order(frames):
    log, _ = frames
    assert log.timestamp.is_monotonic_increasing
    steps = log.groupby("user_id").timestamp.diff().dropna()
    assert (steps > 0).all()


def test_items_are_readable(frames):
    _, items = frames
    row = items.iloc[0]
    main, sub, name = row.tags
    assert name in topics.TOPICS[main][sub][0]
    assert name in row.title
    assert all(tag in row.text for tag in row.tags)
    assert row.item_id == "item-000000"


def test_popularity_is_skewed(frames):
    log, _ = frames
    counts = log.item_id.value_counts().to_numpy()
    assert counts[:40].sum() > 0.25 * len(log)


def test_users_hold_few_series_and_follow_them(frames):
    log, items = frames
    merged = log.merge(items, on="item_id")
    merged["series"] = merged.tags.map(tuple)
    merged["part"] = merged.title.str.extract(r"part (\d+)$").astype(int)
    top = merged.groupby("user_id").series.agg(
        lambda s: s.value_counts().iloc[:2].sum()
    )
    assert top.sum() > 0.5 * len(merged)
    step = merged.groupby(["user_id", "series"]).part.diff()
    assert step.isin([1, 2]).mean() > 0.25


def test_interests_drift(frames):
    log, items = frames
    series = log.merge(items, on="item_id").tags.map(lambda tags: tags[2])
    favourite = series.groupby(log.user_id).agg(
        lambda s: s.iloc[: len(s) // 2].mode()[0] != s.iloc[len(s) // 2 :].mode()[0]
    )
    assert favourite.mean() > 0.3


def test_topics_are_complete():
    for subs in topics.TOPICS.values():
        assert len(subs) == 5
        for names, nouns in subs.values():
            assert len(names.split(", ")) == 5
            assert len(nouns.split(", ")) == 4


def test_zipf_matches_its_formula():
    rng = np.random.default_rng(0)
    places = synth._zipf(np.full(200_000, 5), rng)
    share = np.bincount(places, minlength=5) / len(places)
    expected = np.log((np.arange(5) + 2) / (np.arange(5) + 1)) / np.log(6)
    np.testing.assert_allclose(share, expected, atol=0.005)
