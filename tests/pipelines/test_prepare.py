"""The Beam jobs against a plain pandas reading of the same rules."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from logs import SETTINGS, random_log, read_users, write_raw

from beam_pipelines import events, prepare
from tfrs_himirec import config
from tfrs_himirec.schema import catalog, manifest, sequences
from tfrs_himirec.tree import circle_tree


def expected(log: pd.DataFrame, items: pd.DataFrame, settings: config.Prepare):
    """The rules once more, in plain pandas and Python."""
    bad = (
        log["user_id"].isna()
        | ~log["item_id"].isin(items["item_id"])
        | ~(log["timestamp"] >= 0).fillna(False).astype(bool)
        | ~(log["weight"] >= 0)
    )
    good = log[~bad].reset_index(drop=True)
    unique = good.drop_duplicates(["user_id", "item_id", "timestamp"])
    counts = unique["item_id"].value_counts()
    kept = unique[unique["item_id"].map(counts) >= settings.min_item_events]
    sizes = kept["user_id"].value_counts()
    kept = kept[kept["user_id"].map(sizes) >= settings.min_user_events]
    vocabulary = sorted(counts[counts >= settings.min_item_events].index)
    users = sorted(kept["user_id"].unique())
    lines = {}
    for user in users:
        own = kept[kept["user_id"] == user].sort_values("timestamp", kind="stable")
        lines[user] = [vocabulary.index(item) for item in own["item_id"]]
    texts = np.array([str(user) for user in users], object)
    rank = pd.util.hash_array(texts, hash_key=f"split-{settings.seed}".ljust(16, "-"))
    ordered = [user for _, user in sorted(zip(rank, users, strict=True))]
    test = round(settings.test_fraction * len(users))
    rest = round(settings.validation_fraction * (len(users) - test))
    split = dict.fromkeys(users, "train")
    split |= dict.fromkeys(ordered[:test], "test")
    split |= dict.fromkeys(ordered[test : test + rest], "validation")
    return bad, len(good) - len(unique), vocabulary, lines, split


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("protocol", ["A", "B"])
def test_jobs_agree_with_pandas(tmp_path, strings, protocol):
    log, items = random_log(strings)
    settings = SETTINGS.model_copy(update={"protocol": protocol})
    result = prepare.run(write_raw(tmp_path, log, items), settings, [])
    bad, duplicates, vocabulary, lines, split = expected(log, items, settings)
    assert result.counts.rejected == bad.sum()
    assert result.counts.duplicates == duplicates
    assert result.counts.interactions == sum(map(len, lines.values()))
    removed = bad.sum() + duplicates + result.counts.interactions
    assert result.counts.filtered == len(log) - removed > 0
    assert result.counts.users == len(lines)
    found = {name: read_users(tmp_path, name) for name in sequences.SPLITS}
    short = 0
    for user, line in lines.items():
        cut = len(line)
        if split[user] != "train":
            n = 3 if protocol == "A" else max(1, int(np.ceil(0.2 * len(line))))
            cut -= min(n, len(line))
        short += cut == 0
        if cut:
            history, targets, times = found[split[user]].pop(user)
            assert history == line[:cut]
            assert targets == line[cut:]
            assert times == sorted(times)
    assert not any(found.values())
    assert result.counts.too_short_users == short
    assert short > 0 or protocol == "B"
    assert len(lines) < log["user_id"].nunique()
    assert len(vocabulary) < log["item_id"].nunique() - 1
    items_in_order = catalog.load(tmp_path)
    assert items_in_order.item_ids[items_in_order.places].tolist() == vocabulary
    trained = [row for user in lines if split[user] == "train" for row in lines[user]]
    wanted = np.bincount(trained, minlength=len(vocabulary))
    np.testing.assert_array_equal(items_in_order.counts[items_in_order.places], wanted)


def test_totals_add_up(tmp_path):
    counts = prepare.run(write_raw(tmp_path, *random_log(False)), SETTINGS, []).counts
    assert counts.events_read == (
        counts.rejected + counts.duplicates + counts.filtered + counts.interactions
    )
    assert counts.users == (
        counts.train_users
        + counts.validation_users
        + counts.test_users
        + counts.too_short_users
    )
    assert manifest.load(tmp_path).counts == counts


@pytest.mark.parametrize("strings", [False, True])
def test_rejected_rows_keep_their_values_and_the_reason(tmp_path, strings):
    log, items = random_log(strings)
    prepare.run(write_raw(tmp_path, log, items), SETTINGS, [])
    lines = [
        json.loads(line)
        for path in (tmp_path / "rejected").iterdir()
        for line in path.read_text().splitlines()
    ]
    wanted = {
        3: "negative weight",
        500: "weight is not a finite number",
        10: "negative timestamp",
        700: "negative timestamp",
        20: "unknown item",
        30: "unknown item",
        40: "missing user_id",
    }
    if not strings:
        wanted[41] = "missing timestamp"
    assert {line["row_number"]: line["reason"] for line in lines} == wanted
    row = next(line for line in lines if line["row_number"] == 20)
    assert row["item_id"] == log.loc[20, "item_id"]
    assert row["user_id"] == log.loc[20, "user_id"]
    assert isinstance(row["item_id"], str if strings else int)


def contents(run_dir) -> dict:
    users = {name: read_users(run_dir, name) for name in sequences.SPLITS}
    histories = pq.read_table(run_dir / "histories").to_pandas()
    histories = histories.sort_values(["user_id", "circle"]).astype(str)
    return users | {"histories": histories.values.tolist()}


@pytest.mark.parametrize(
    ("buckets", "arguments"),
    [(7, []), (2, ["--runner=BundleBasedDirectRunner"])],
)
def test_buckets_and_runner_do_not_matter(tmp_path, buckets, arguments):
    log, items = random_log(False)
    one = write_raw(tmp_path / "one", log, items)
    prepare.run(one, SETTINGS.model_copy(update={"buckets": 1}), [])
    many = write_raw(tmp_path / "many", log, items, group=97)
    settings = SETTINGS.model_copy(update={"buckets": buckets})
    prepare.run(many, settings, arguments)
    assert contents(one) == contents(many)
    assert circle_tree.load(one).fingerprint == circle_tree.load(many).fingerprint


def test_large_row_groups_are_read_in_batches(tmp_path, monkeypatch):
    log, items = random_log(False)
    settings = SETTINGS.model_copy(update={"buckets": 16})
    one = write_raw(tmp_path / "one", log, items)
    prepare.run(one, settings, [])
    monkeypatch.setattr(events, "BUCKET_ROWS", 100)
    other = write_raw(tmp_path / "other", log, items, group=len(log))
    prepare.run(other, settings, [])
    assert contents(one) == contents(other)
    firsts = sorted(path.stem for path in (other / "rejected").iterdir())
    assert [int(name.removeprefix("from-row-")) for name in firsts] == [3, 500, 700]


def test_split_histories_hold_the_past_by_leaf_circle(tmp_path):
    log, items = random_log(False)
    prepare.run(write_raw(tmp_path, log, items), SETTINGS, [])
    listed, tree = catalog.load(tmp_path), circle_tree.load(tmp_path)
    path_of = dict(
        zip(listed.rows, (tree.paths[n] for n in tree.leaf_of_place), strict=True)
    )
    row_of = dict(zip(listed.item_ids, listed.rows, strict=True))
    wanted: dict = {}
    for split in sequences.SPLITS:
        for user, (history, _, times) in read_users(tmp_path, split).items():
            for row, time in zip(history, times, strict=True):
                wanted.setdefault((user, path_of[row]), []).append((row, time))
    found = {}
    for line in pq.read_table(tmp_path / "histories").to_pylist():
        rows = [row_of[item] for item in line["item_ids"]]
        pairs = list(zip(rows, line["timestamps"], strict=True))
        found[line["user_id"], line["circle"]] = pairs
    assert found == wanted


def test_test_users_influence_nothing(tmp_path):
    """Counts and vectors stay when test users' events are exchanged."""
    log, items = random_log(False)
    settings = SETTINGS.model_copy(update={"min_item_events": 1, "min_user_events": 1})
    first = write_raw(tmp_path / "first", log, items)
    prepare.run(first, settings, [])
    others = {*read_users(first, "test"), *read_users(first, "validation")}
    changed = log.copy()
    theirs = changed["user_id"].isin(others) & (changed["item_id"] < 120)
    mixed = changed.loc[theirs, "item_id"].sample(frac=1, random_state=1)
    changed.loc[theirs, "item_id"] = mixed.to_numpy()
    second = write_raw(tmp_path / "second", changed, items)
    prepare.run(second, settings, [])
    before, after = catalog.load(first), catalog.load(second)
    np.testing.assert_array_equal(before.rows, after.rows)
    np.testing.assert_array_equal(before.counts, after.counts)
    np.testing.assert_array_equal(before.embedding, after.embedding)


@pytest.mark.parametrize("strings", [False, True])
def test_every_listed_item_is_kept_when_no_events_are_asked_for(tmp_path, strings):
    log, items = random_log(strings)
    settings = SETTINGS.model_copy(update={"min_item_events": 0})
    result = prepare.run(write_raw(tmp_path, log, items), settings, [])
    found = catalog.load(tmp_path)
    assert result.counts.items == len(items) == found.size
    assert sorted(found.item_ids) == sorted(items["item_id"])
    assert (found.counts == 0).any()
    assert np.isfinite(found.embedding).all()
