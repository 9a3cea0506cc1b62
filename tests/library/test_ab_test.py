import json

import numpy as np
import pandas as pd
import pytest

from tfrs_himirec import errors
from tfrs_himirec.cli import main
from tfrs_himirec.evaluation import ab_test

DAY = 86_400


def _log(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*ab_test.COLUMNS, "click", "seconds"])


SMALL = _log(
    [
        ("a", 1, 0, 1.0, 10.0),
        ("a", 1, 100, 1.0, 30.0),
        ("a", 2, DAY, 0.0, 0.0),
        ("a", 3, DAY + 1, 1.0, 2.0),
        ("b", 1, DAY - 1, 0.0, 0.0),
        ("b", 4, 5, 0.0, 4.0),
    ]
)


def test_metrics_by_hand():
    table = ab_test.user_table(SMALL)
    value = {n: above.sum() / below.sum() for n, (above, below) in table.items()}
    assert value == pytest.approx(
        {
            "impressions": 3.0,
            "click_per_user": 1.5,
            "click_rate": 3 / 6,
            "seconds_per_user": 23.0,
            "seconds_rate": 46 / 6,
            "active_days": 1.5,
            "retention": 0.5,
            "unique_items": 1.0,  # a consumed items 1 and 3, b nothing
            "diversity": 2 / 3,  # of a alone, 2 items in 3 clicks
        }
    )


def _random(users: int, rate: float, prefix: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = 20 * users
    return pd.DataFrame(
        {
            "user_id": [f"{prefix}{u}" for u in rng.integers(0, users, size)],
            "item_id": rng.integers(0, 50, size),
            "timestamp": rng.integers(0, 30 * DAY, size),
            "click": rng.random(size) < rate,
        }
    )


def _compare(tmp_path, first, second, **options):
    logs = []
    for name, frame in (("control", first), ("treatment", second)):
        frame.to_parquet(tmp_path / f"{name}.parquet")
        logs.append(ab_test.read(tmp_path / f"{name}.parquet"))
    return {one.metric: one for one in ab_test.compare(*logs, **options)}


def test_equal_arms_show_no_lift(tmp_path):
    arms = _random(400, 0.2, "a", 1), _random(400, 0.2, "b", 2)
    found = _compare(tmp_path, *arms, samples=500)
    for one in found.values():
        assert one.low <= one.lift <= one.high
    rate = found["click_rate"]
    assert rate.low < 0 < rate.high
    assert rate.p_value > 0.05


def test_a_planted_lift_is_found(tmp_path):
    arms = _random(400, 0.20, "a", 3), _random(400, 0.24, "b", 4)
    rate = _compare(tmp_path, *arms, samples=500)["click_rate"]
    assert rate.low < 0.2 < rate.high
    assert rate.low > 0
    assert rate.p_value <= 0.05
    wide = _compare(tmp_path, *arms, samples=500, confidence=0.99)["click_rate"]
    assert wide.low < rate.low < rate.high < wide.high


def test_the_interval_follows_users_not_rows(tmp_path):
    """Ten times the same rows of a user add no information."""
    arms = [_random(200, 0.2, "a", 1), _random(200, 0.2, "b", 2)]
    once = _compare(tmp_path, *arms, samples=400)["click_rate"]
    many = _compare(tmp_path, *(pd.concat([arm] * 10) for arm in arms), samples=400)
    width = many["click_rate"].high - many["click_rate"].low
    assert width == pytest.approx(once.high - once.low, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda log: log.drop(columns="item_id"), ["item_id", "missing"]),
        (lambda log: log[["user_id", "item_id", "timestamp"]], ["outcome column"]),
        (lambda log: log[:0], ["no rows"]),
        (lambda log: log.assign(click=["1"] * 5 + ["yes"]), ["row 6", "click", "yes"]),
        (lambda log: log.assign(seconds=[0.0] * 3 + [np.nan] * 3), ["row 4", "nan"]),
        (lambda log: log.assign(timestamp=[1] * 5 + [-1]), ["row 6", "timestamp"]),
        (lambda log: log.assign(user_id=["a"] * 5 + [None]), ["row 6", "user_id"]),
    ],
)
def test_bad_logs_are_refused(tmp_path, change, parts):
    path = tmp_path / "log.csv"
    change(SMALL).to_csv(path, index=False)
    with pytest.raises(errors.HimirecError) as caught:
        ab_test.read(path)
    assert all(part in str(caught.value) for part in [str(path), *parts])


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("log.txt", "x", "unknown kind"),
        ("log.parquet", "x", "not readable"),
        ("log.csv", "", "not readable"),
        ("log.jsonl", "{", "not readable"),
        ("log.csv", None, "no such file"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, name, content, part):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(errors.HimirecError, match=part):
        ab_test.read(tmp_path / name)


def test_a_user_of_both_arms_is_named():
    other = SMALL.assign(user_id=["b", "c", "c", "c", "c", "c"])
    with pytest.raises(errors.HimirecError, match="user 'b' and 0 others"):
        ab_test.compare(SMALL, other)


def test_arms_with_different_outcomes_are_refused():
    with pytest.raises(errors.HimirecError, match="--outcomes"):
        ab_test.compare(SMALL, SMALL.drop(columns="seconds"))


def test_the_command_prints_a_table_and_json(tmp_path, capsys):
    paths = [str(tmp_path / "a.csv"), str(tmp_path / "b.jsonl")]
    _random(50, 0.2, "a", 1).to_csv(paths[0], index=False)
    _random(50, 0.0, "b", 2).to_json(paths[1], orient="records", lines=True)
    options = ["--outcomes", "click", "--samples", "100"]
    assert main.main(["ab-test", *paths, *options]) == 0
    assert "click_rate" in capsys.readouterr().out
    assert main.main(["ab-test", *reversed(paths), *options, "--json"]) == 0
    found = {one["metric"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["click_rate"]["control"] == 0
    assert found["click_rate"]["lift"] is None  # over nothing
    assert main.main(["ab-test", *paths, "--confidence", "95"]) == 2
