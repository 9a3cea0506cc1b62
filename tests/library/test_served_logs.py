import numpy as np
import pandas as pd
import pytest

from tfrs_himirec import errors
from tfrs_himirec.evaluation import ab_test, served_logs

DAY = 86_400
WRITERS = {
    "csv": lambda log, path: log.to_csv(path, index=False),
    "jsonl": lambda log, path: log.to_json(path, orient="records", lines=True),
    "parquet": lambda log, path: log.to_parquet(path),
}
LOG = pd.DataFrame(
    [
        ("a", 1, 0, 1.0, 10.0),
        ("a", 1, 100, 1.0, 30.0),
        ("a", 2, DAY, 0.0, 0.0),
        ("a", 3, DAY + 1, 1.0, 2.0),
        ("b", 1, DAY - 1, 0.0, 0.0),
        ("b", 4, 5, 0.0, 4.0),
    ],
    columns=[*served_logs.COLUMNS, "click", "seconds"],
)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_reads_the_same(tmp_path, kind):
    """With times of today, that some readers would take for dates."""
    log = LOG.assign(
        timestamp=LOG["timestamp"] + 20_000 * DAY,
        item_id=["01", "1", "NA", "3", "4", "5"],
        click=LOG["click"] > 0,
        page="home",
    )
    WRITERS[kind](log, tmp_path / f"log.{kind}")
    found = served_logs.read(tmp_path / f"log.{kind}")
    assert list(found) == [*served_logs.COLUMNS, "click", "seconds"]  # no text
    assert found["timestamp"].tolist() == log["timestamp"].tolist()
    assert found["item_id"].tolist() == log["item_id"].tolist()
    assert found["click"].tolist() == LOG["click"].tolist()
    assert ab_test.user_table(found)["active_days"][0].tolist() == [2, 1]
    named = served_logs.read(tmp_path / f"log.{kind}", ["seconds"])
    assert list(named) == [*served_logs.COLUMNS, "seconds"]
    with pytest.raises(errors.HimirecError, match="'page': .* received 'home'"):
        served_logs.read(tmp_path / f"log.{kind}", ["page"])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda log: log.drop(columns="item_id"), ["item_id", "missing"]),
        (lambda log: log[["user_id", "item_id", "timestamp"]], ["outcome column"]),
        (lambda log: log[:0], ["no rows"]),
        (
            lambda log: log.assign(click=["1"] * 5 + ["yes"]),
            ["line 7", "'click'", "yes"],
        ),
        (
            lambda log: log.assign(seconds=[0.0] * 3 + [np.nan] * 3),
            ["line 5", "'seconds'", "nan"],
        ),
        (
            lambda log: log.assign(timestamp=[1] * 5 + [-1]),
            ["line 7", "'timestamp'", "-1"],
        ),
        (lambda log: log.assign(user_id=["a"] * 5 + [None]), ["line 7", "'user_id'"]),
        (
            lambda log: log.assign(timestamp=[1] * 5 + [17e11]),
            ["line 7", "Unix seconds"],
        ),
        (lambda log: log.assign(click=["true"] * 4 + ["no", "1"]), ["line 6", "'no'"]),
        (lambda log: log.rename(columns={"click": "seconds"}), ["called 'seconds'"]),
    ],
)
def test_bad_logs_are_refused(tmp_path, change, parts):
    path = tmp_path / "log.csv"
    change(LOG).to_csv(path, index=False)
    with pytest.raises(errors.HimirecError) as caught:
        served_logs.read(path)
    assert all(part in str(caught.value) for part in [str(path), *parts])


def test_empty_lines_count_as_lines(tmp_path):
    for name, text in (
        ("log.csv", "user_id,item_id,timestamp,click\na,1,1,1\n\na,1,1,x\n"),
        ("log.jsonl", '{"user_id": 1, "item_id": 1, "timestamp": 1, "click": 1}\n\n'),
    ):
        (tmp_path / name).write_text(text)
    with pytest.raises(errors.HimirecError, match="line 4: column 'click'"):
        served_logs.read(tmp_path / "log.csv")
    with open(tmp_path / "log.jsonl", "a") as stream:
        stream.write('{"user_id": [1], "item_id": 1, "timestamp": 1, "click": 1}')
    with pytest.raises(errors.HimirecError, match="line 3: column 'user_id'"):
        served_logs.read(tmp_path / "log.jsonl")


def test_parquet_rows_and_types(tmp_path):
    path = tmp_path / "log.parquet"
    LOG.assign(seconds=[0.0, np.inf] * 3).to_parquet(path)
    with pytest.raises(errors.HimirecError, match="row 2: column 'seconds'.*inf"):
        served_logs.read(path)
    LOG.assign(timestamp=pd.Timestamp("2025-01-01")).to_parquet(path)
    with pytest.raises(errors.HimirecError, match="row 1: .*expected Unix seconds"):
        served_logs.read(path)
    LOG.assign(seen=pd.Timestamp("2025-01-01")).to_parquet(path)
    assert "seen" not in served_logs.read(path)  # a time is no outcome
    LOG.assign(item_id=0.5).to_parquet(path)
    with pytest.raises(errors.HimirecError, match="'item_id' is double"):
        served_logs.read(path)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("log.txt", "x", "unknown kind"),
        ("log.parquet", "x", "not readable"),
        ("log.csv", "", "not readable"),
        ("log.csv", "user_id,item_id\na,1\nb,1,2\n", "Row #3"),
        ("log.jsonl", "{", "line 1"),
        ("log.jsonl", "\n[1]", "line 2: expected a JSON object"),
        ("log.jsonl", "", "no rows"),
        ("log.csv", None, "no such file"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, name, content, part):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(errors.HimirecError, match=part):
        served_logs.read(tmp_path / name)


def test_an_id_is_no_outcome(tmp_path):
    LOG.to_csv(tmp_path / "a.csv")
    with pytest.raises(errors.HimirecError, match="--outcomes: 'timestamp'"):
        served_logs.read(tmp_path / "a.csv", ["timestamp"])
    with pytest.raises(errors.HimirecError, match="'buy' is missing.*--outcomes"):
        served_logs.read(tmp_path / "a.csv", ["click", "buy"])
