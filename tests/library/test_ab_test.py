import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from tfrs_himirec import errors
from tfrs_himirec.cli import main
from tfrs_himirec.evaluation import ab_test, served_logs

DAY = 86_400


def _log(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*served_logs.COLUMNS, "click", "seconds"])


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
        logs.append(served_logs.read(tmp_path / f"{name}.parquet"))
    return {one.metric: one for one in ab_test.compare(*logs, **options)}


def test_equal_arms_show_no_lift(tmp_path):
    arms = _random(400, 0.2, "a", 1), _random(400, 0.2, "b", 2)
    found = _compare(tmp_path, *arms, samples=500)
    for one in found.values():
        assert one.low_percent <= one.lift_percent <= one.high_percent
    rate = found["click_rate"]
    assert rate.low_percent < 0 < rate.high_percent
    assert rate.p_value > 0.05


def test_a_planted_lift_is_found(tmp_path):
    arms = _random(400, 0.20, "a", 3), _random(400, 0.24, "b", 4)
    rate = _compare(tmp_path, *arms, samples=500)["click_rate"]
    assert 0 < rate.low_percent < 20 < rate.high_percent
    assert rate.lift_percent == pytest.approx(100 * (rate.treatment / rate.control - 1))
    assert rate.p_value <= 0.05
    wide = _compare(tmp_path, *arms, samples=500, confidence=0.99)["click_rate"]
    assert wide.low_percent < rate.low_percent
    assert rate.high_percent < wide.high_percent


def test_the_interval_follows_users_not_rows(tmp_path):
    """Ten times the same rows of a user add no information."""
    arms = [_random(200, 0.2, "a", 1), _random(200, 0.2, "b", 2)]
    once = _compare(tmp_path, *arms, samples=400)["click_rate"]
    many = _compare(tmp_path, *(pd.concat([arm] * 10) for arm in arms), samples=400)
    width = many["click_rate"].high_percent - many["click_rate"].low_percent
    wanted = once.high_percent - once.low_percent
    assert width == pytest.approx(wanted, rel=1e-6)


def test_the_interval_agrees_with_the_delta_method(tmp_path):
    """Relative variance of a ratio of sums: sum((y - rate x)^2) / sum(y)^2."""
    arms = _random(400, 0.2, "a", 5), _random(400, 0.3, "b", 6)
    variance = 0.0
    for arm in arms:
        users = arm.groupby("user_id")["click"].agg(["sum", "size"])
        rate = users["sum"].sum() / users["size"].sum()
        residual = users["sum"] - rate * users["size"]
        variance += (residual**2).sum() / users["sum"].sum() ** 2
    found = _compare(tmp_path, *arms, samples=4000)["click_rate"]
    wanted = 2 * 1.96 * found.treatment / found.control * np.sqrt(variance)
    width = (found.high_percent - found.low_percent) / 100
    assert width == pytest.approx(wanted, rel=0.06)


def test_the_chunks_of_the_bootstrap_do_not_matter(tmp_path, monkeypatch):
    arms = _random(50, 0.2, "a", 1), _random(60, 0.3, "b", 2)
    whole = _compare(tmp_path, *arms, samples=150)["click_rate"]
    monkeypatch.setattr(ab_test, "_COUNTS", 7 * 60)
    parts = _compare(tmp_path, *arms, samples=150)["click_rate"]
    assert parts.low_percent == pytest.approx(whole.low_percent)
    assert parts.p_value == whole.p_value
    other = _compare(tmp_path, *arms, samples=150, seed=8)["click_rate"]
    assert other.low_percent != pytest.approx(whole.low_percent)


def test_what_is_undefined_is_not_significant(tmp_path):
    none = _random(30, 0.0, "b", 2)
    found = _compare(tmp_path, _random(30, 0.2, "a", 1), none, samples=100)
    assert np.isnan(found["diversity"].treatment)  # nobody consumed anything
    assert np.isnan(found["diversity"].p_value)
    assert found["click_rate"].lift_percent == -100
    assert found["click_rate"].p_value == 1 / 100


def test_equal_users_differ_in_nothing(tmp_path):
    """Three clicks on one item: a diversity of 1/3, which floats do not hold."""
    arms = [
        _log([(f"{arm}{u}", 1, i, 1.0, 0.1) for u in range(users) for i in range(3)])
        for arm, users in (("a", 100), ("b", 37))
    ]
    found = _compare(tmp_path, *arms, samples=200)
    assert found["diversity"].control == pytest.approx(1 / 3)
    assert {one.p_value for one in found.values()} == {1.0}


def test_a_user_of_both_arms_is_named(tmp_path):
    """Also when one log holds the id as an integer and the other as text."""
    frames = SMALL.assign(user_id=7), SMALL.assign(user_id=["7", *"cccdd"])
    frames[0].to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frames[1].to_parquet(tmp_path / "b.parquet")
    logs = [served_logs.read(tmp_path / name) for name in ("a.jsonl", "b.parquet")]
    with pytest.raises(errors.HimirecError, match="user '7' is in both .*: 1"):
        ab_test.compare(*logs)
    found = ab_test.compare(*logs, samples=100, allow_overlap=True)
    assert (found[0].control, found[0].treatment) == (6, 2)


def test_arms_with_different_outcomes_are_refused():
    with pytest.raises(errors.HimirecError, match="--outcomes"):
        ab_test.compare(SMALL, SMALL.drop(columns="seconds"))


@pytest.fixture
def logs(tmp_path):
    paths = [str(tmp_path / "a.csv"), str(tmp_path / "b.jsonl")]
    _random(50, 0.2, "a", 1).to_csv(paths[0], index=False)
    _random(40, 0.0, "b", 2).to_json(paths[1], orient="records", lines=True)
    return paths


def test_the_command_prints_one_json_object(logs, capsys):
    options = ["--outcomes", "click", "--samples", "100", "--json"]
    assert main.main(["ab-test", *reversed(logs), *options]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["control_users"], summary["treatment_users"]) == (40, 50)
    assert [summary[n] for n in ("confidence", "samples", "seed")] == [0.95, 100, 7]
    found = {one["metric"]: one for one in summary["metrics"]}
    assert found["click_rate"]["control"] == 0
    assert found["click_rate"]["lift_percent"] is None  # over nothing
    assert found["impressions"]["lift_percent"] == 0  # 20 a user
    assert main.main(["ab-test", logs[0], logs[0], *options]) == 2
    assert main.main(["ab-test", logs[0], logs[0], *options, "--allow-overlap"]) == 0


def test_the_command_passes_its_options_on(logs, capsys):
    _random(40, 0.2, "b", 2).to_csv(logs[0] + ".csv", index=False)
    arms = [logs[0], logs[0] + ".csv"]
    given = {"confidence": 0.8, "samples": 150, "seed": 3}
    options = [part for n, v in given.items() for part in (f"--{n}", str(v))]
    assert main.main(["ab-test", *arms, *options, "--json"]) == 0
    wanted = ab_test.compare(*map(served_logs.read, arms), **given)
    printed = json.loads(capsys.readouterr().out)["metrics"]
    assert printed == [dataclasses.asdict(one) for one in wanted]


def test_the_command_prints_an_aligned_table(logs, capsys):
    assert main.main(["ab-test", *logs, "--samples", "100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["metric", "control", "treatment", "lift"]
    assert len({len(line) for line in lines}) == 1
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["click_rate"][1:4] == ["0.0000", "-100.00", "%"]
    assert rows["diversity"][1:] == ["-"] * 4  # nobody clicked in the second log


@pytest.mark.parametrize(
    ("option", "value"), [("--confidence", "95"), ("--samples", "9"), ("--seed", "-1")]
)
def test_the_command_refuses_options(logs, capsys, option, value):
    assert main.main(["ab-test", *logs, option, value]) == 2
    assert f"ab-test: error: {option}: " in capsys.readouterr().err
