import datetime
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_himirec import config, errors
from tfrs_himirec.raw import importer, readers
from tfrs_himirec.schema import raw

_CSV = "user_id,item_id,timestamp,weight\n7,10,100,1\n7,11,101,2.5\n8,10,90,0\n"
_ITEMS = (
    "item_id,title,text,tags\n10,Lamp,A lamp,home|light\n11,Rope,,\n12,Pan,x,home\n"
)


def _run(tmp_path, source="csv", path=None, **settings):
    """Imports and returns the summary and both tables as frames."""
    data = config.Data(source=source, raw=str(path or tmp_path), **settings)
    out = tmp_path / "run" / "raw"
    summary = importer.run(data, out, progress=False)
    log, items = raw.paths(out)
    return summary, pd.read_parquet(log), pd.read_parquet(items)


def _refused(tmp_path, match, **arguments):
    """Expects a one-line error and nothing half-written."""
    with pytest.raises(errors.HimirecError, match=match) as caught:
        _run(tmp_path, **arguments)
    assert "\n" not in str(caught.value)
    run = tmp_path / "run"
    assert not run.exists() or not list(run.iterdir())


def _write(tmp_path, **contents):
    for name, content in contents.items():
        (tmp_path / name.replace("__", ".")).write_text(content)


# CSV


def test_csv(tmp_path):
    _write(tmp_path, interactions__csv=_CSV, items__csv=_ITEMS)
    summary, log, items = _run(tmp_path)
    assert log.user_id.tolist() == [7, 7, 8]  # the order of the file
    assert log.weight.tolist() == [1, 2.5, 0]
    assert items.item_id.tolist() == [10, 11, 12]
    assert items.text.tolist() == ["A lamp", "", "x"]
    assert [list(tags) for tags in items.tags] == [["home", "light"], [], ["home"]]
    del summary["out"]
    assert summary == {
        "source": "csv",
        "users": 2,
        "items": 3,
        "interactions": 3,
        "rejected": 0,
        "user_id_type": "int64",
        "item_id_type": "int64",
    }


@pytest.mark.parametrize("odd", ["007", "a", "1.0", "9" * 19, "+5"])
def test_csv_ids_that_are_no_plain_integers_stay_text(tmp_path, odd):
    _write(tmp_path, interactions__csv=_CSV + f"8,{odd},91,1\n", items__csv=_ITEMS)
    summary, log, items = _run(tmp_path)
    assert (summary["user_id_type"], summary["item_id_type"]) == ("int64", "string")
    assert log.item_id.tolist() == ["10", "11", "10", odd]
    assert items.item_id.tolist() == ["10", "11", "12"]


def test_text_ids_of_items_make_those_of_the_log_text(tmp_path):
    _write(tmp_path, interactions__csv=_CSV, items__csv=_ITEMS + "x1,,,\n")
    _, log, items = _run(tmp_path)
    assert log.item_id.tolist() == ["10", "11", "10"]
    assert items.title.tolist()[-1] == "x1"


def test_a_log_alone_makes_its_items(tmp_path, caplog):
    log_path = tmp_path / "clicks.csv"
    log_path.write_text("user_id,item_id,timestamp\na,9,1\nb,10,2\na,9,3\n")
    _, log, items = _run(tmp_path, path=log_path)
    assert log.weight.tolist() == [1, 1, 1]
    assert items.item_id.tolist() == [9, 10]
    assert items.title.tolist() == ["9", "10"]
    assert items.text.tolist() == ["", ""]
    assert "no item file" in caplog.text


def test_columns_have_other_names(tmp_path):
    log_path, item_path = tmp_path / "a.csv", tmp_path / "b.jsonl"
    log_path.write_text("who,what,when\nu,i,5\n")
    item_path.write_text('{"what": "i", "name": "Lamp"}\n')
    columns = config.Columns(
        user_id="who", item_id="what", timestamp="when", title="name"
    )
    _, log, items = _run(tmp_path, path=log_path, items=str(item_path), columns=columns)
    assert log.user_id.tolist() == ["u"]
    assert items.title.tolist() == ["Lamp"]


def test_quotes_byte_order_mark_and_empty_lines(tmp_path):
    text = '\ufeffuser_id,item_id,timestamp,note\n"a,b",1,5,"two\nlines"\n\nc,2,6,\n\n'
    _write(tmp_path, interactions__csv=text)
    _, log, _ = _run(tmp_path)
    assert log.user_id.tolist() == ["a,b", "c"]


# Timestamps


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700000000", 1_700_000_000),
        (" -5 ", -5),
        ("12.9", 12),
        ("1.7e9", 1_700_000_000),
        ("2024-01-02", 1_704_153_600),
        ("2024-01-02T00:00:01", 1_704_153_601),
        ("2024-01-02 00:00:01.75Z", 1_704_153_601),
        ("2024-01-02T02:00:00+02:00", 1_704_153_600),
    ],
)
def test_timestamps_as_text(tmp_path, text, seconds):
    _write(tmp_path, interactions__csv=f"user_id,item_id,timestamp\na,b,{text}\n")
    _, log, _ = _run(tmp_path)
    assert log.timestamp.tolist() == [seconds]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1_704_153_600], pa.int32()),
        pa.array([1_704_153_600.9]),
        pa.array(["2024-01-02"], pa.large_string()),
        pa.array(["2024-01-02"]).dictionary_encode(),
        pa.array([datetime.date(2024, 1, 2)]),
        pa.array([datetime.datetime(2024, 1, 2)], pa.timestamp("ns")),
        pa.array([datetime.datetime(2024, 1, 2)], pa.timestamp("us", tz="UTC")),
    ],
    ids=lambda array: str(array.type),
)
def test_typed_timestamps(tmp_path, array):
    table = pa.table({"user_id": [1], "item_id": [2], "timestamp": array})
    pq.write_table(table, tmp_path / "interactions.parquet")
    _, log, _ = _run(tmp_path, "parquet")
    assert log.timestamp.tolist() == [1_704_153_600]


@pytest.mark.parametrize(
    "text", ["yesterday", "2024-13-01", "2024-01-02x", "1e30", "nan", ""]
)
def test_a_timestamp_that_cannot_be_parsed(tmp_path, text):
    _write(
        tmp_path, interactions__csv=f"user_id,item_id,timestamp\na,b,1\na,b,{text}\n"
    )
    received = repr(text or None)
    match = (
        r"interactions\.csv: line 3: column 'timestamp': expected Unix seconds or an "
        rf"ISO-8601 time, received {received}; .*--on-bad-rows reject"
    )
    _refused(tmp_path, match)


def test_a_timestamp_column_of_another_type(tmp_path):
    table = pa.table({"user_id": [1], "item_id": [2], "timestamp": [True]})
    pq.write_table(table, tmp_path / "interactions.parquet")
    _refused(tmp_path, "'timestamp' is bool.*--timestamp-column", source="parquet")


# Malformed rows


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e39", "much", ""])
def test_a_malformed_weight(tmp_path, value):
    _write(tmp_path, interactions__csv=_CSV + f"8,11,95,{value}\n")
    _refused(tmp_path, r"line 5: column 'weight': expected a finite number >= 0")


@pytest.mark.parametrize(
    ("row", "column"), [(",10,1,1", "user_id"), ("7, ,1,1", "item_id")]
)
def test_a_missing_id(tmp_path, row, column):
    _write(tmp_path, interactions__csv=_CSV + row + "\n")
    _refused(tmp_path, f"line 5: column '{column}': expected an id, received")


def test_a_row_with_too_many_columns(tmp_path):
    _write(tmp_path, interactions__csv=_CSV + "\n1,2,3,4,5\n")
    _refused(tmp_path, "line 6: expected 4 columns, received 5")


def test_malformed_rows_are_set_aside(tmp_path, caplog):
    bad = "8,x y,never,1\n\n1,2\n8,,4,1\n"
    _write(tmp_path, interactions__csv=_CSV + bad + "9,12,5,1\n7,10\n")
    summary, log, _ = _run(tmp_path, on_bad_rows="reject")
    assert (summary["interactions"], summary["rejected"]) == (4, 4)
    assert summary["item_id_type"] == "int64"  # malformed rows do not decide
    assert log.user_id.tolist() == [7, 7, 8, 9]
    assert "4 malformed rows set aside" in caplog.text
    path = tmp_path / "run/raw/rejected/interactions.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["row"] for record in records] == [5, 7, 8, 10]
    assert records[0]["values"]["timestamp"] == "never"
    assert records[1]["values"] == {"line": "1,2"}
    assert "expected an id" in records[2]["reason"]


def test_line_numbers_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_BLOCK", 64)
    lines = ["user_id,item_id,timestamp"]
    lines += ["1,2" if n % 10 == 0 else f"{n},{n},{n}" for n in range(2, 400)]
    lines[200] = "5,5,soon"  # line 201
    _write(tmp_path, interactions__csv="\n".join(lines))
    summary, log, _ = _run(tmp_path, on_bad_rows="reject")
    rejected = (tmp_path / "run/raw/rejected/interactions.jsonl").read_text()
    rows = {json.loads(line)["row"] for line in rejected.splitlines()}
    assert rows == {*range(10, 400, 10), 201}
    assert summary["rejected"] == 40
    assert log.user_id.tolist() == [n for n in range(2, 400) if n % 10 and n != 201]


def test_a_log_of_malformed_rows_only(tmp_path):
    _write(tmp_path, interactions__csv="user_id,item_id,timestamp\na,b,c\n")
    _refused(tmp_path, "line 2.*all 1 rows are malformed", on_bad_rows="reject")


def test_a_failed_import_keeps_the_last_one(tmp_path):
    _write(tmp_path, interactions__csv=_CSV)
    _run(tmp_path)
    _write(tmp_path, interactions__csv=_CSV + "1,2,x,1\n")
    with pytest.raises(errors.HimirecError):
        _run(tmp_path)
    log, _ = raw.paths(tmp_path / "run" / "raw")
    assert pq.read_metadata(log).num_rows == 3
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["raw"]


# Missing things


def test_a_missing_column(tmp_path):
    _write(tmp_path, interactions__csv="user,item_id,timestamp\n1,2,3\n")
    match = r"'user_id' is missing \(found user, item_id, timestamp\).*--user-id-column"
    _refused(tmp_path, match)


def test_a_column_that_stands_twice(tmp_path):
    _write(tmp_path, interactions__csv="user_id,user_id,item_id,timestamp\n1,1,2,3\n")
    _refused(tmp_path, "2 columns are called 'user_id'")


def test_a_renamed_column_must_be_there(tmp_path):
    _write(tmp_path, interactions__csv="user_id,item_id,timestamp\n1,2,3\n")
    columns = config.Columns(weight="stars")
    _refused(tmp_path, "'stars' is missing.*--weight-column", columns=columns)


@pytest.mark.parametrize(
    ("source", "content", "match"),
    [
        ("csv", "user_id,item_id,timestamp\n", "log is empty"),
        ("csv", "", "not readable as CSV: Empty CSV file"),
        ("jsonl", "\n", "log is empty"),
    ],
)
def test_an_empty_log(tmp_path, source, content, match):
    path = tmp_path / f"interactions.{source}"
    path.write_text(content)
    _refused(tmp_path, match, source=source, path=path)


def test_an_empty_parquet_log(tmp_path):
    table = raw.interactions_schema("int64", "string").empty_table()
    pq.write_table(table, tmp_path / "interactions.parquet")
    _refused(tmp_path, "log is empty", source="parquet")


@pytest.mark.parametrize("source", ["csv", "movielens"])
def test_a_missing_path(tmp_path, source):
    _refused(tmp_path, "no such.*--raw", source=source, path=tmp_path / "none")


def test_a_directory_without_a_log(tmp_path):
    _refused(tmp_path, "holds no interactions.jsonl", source="jsonl")


def test_a_missing_item_file(tmp_path):
    _write(tmp_path, interactions__csv=_CSV)
    _refused(tmp_path, "no such item file.*--items", items=str(tmp_path / "none.csv"))


def test_no_path_at_all(tmp_path):
    with pytest.raises(errors.HimirecError, match="data.raw is not set"):
        importer.run(config.Data(source="csv"), tmp_path / "raw")


def test_a_file_of_another_format(tmp_path):
    _write(tmp_path, interactions__parquet=_CSV)
    _refused(tmp_path, "not readable as Parquet", source="parquet")


# Items


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (
            "11,Again,,\n",
            r"items.csv: line 5: item id 11 stands already in .*: line 3;",
        ),
        (",Nameless,,\n", "line 5: column 'item_id': expected an id"),
        ("1,2\n", "line 5: expected 4 columns"),
    ],
)
def test_malformed_items(tmp_path, rows, match):
    _write(tmp_path, interactions__csv=_CSV, items__csv=_ITEMS + rows)
    _refused(tmp_path, match, on_bad_rows="reject")


def test_an_item_file_without_items(tmp_path):
    _write(tmp_path, interactions__csv=_CSV, items__csv="item_id\n")
    _refused(tmp_path, "holds no items")


@pytest.mark.parametrize(
    ("column", "expected"),
    [(pa.array([3, None]), [["3"], []]), (pa.array([["a", None], []]), [["a"], []])],
)
def test_typed_tags(tmp_path, column, expected):
    _write(tmp_path, interactions__csv=_CSV)
    table = pa.table({"item_id": [1, 2], "tags": column})
    pq.write_table(table, tmp_path / "i.parquet")
    _, _, items = _run(tmp_path, items=str(tmp_path / "i.parquet"))
    assert [list(tags) for tags in items.tags] == expected


def test_a_title_that_is_no_text(tmp_path):
    _write(tmp_path, interactions__csv=_CSV)
    pq.write_table(pa.table({"item_id": [1], "title": [[1]]}), tmp_path / "i.parquet")
    match = "'title' is list.*expected text.*--title-column"
    _refused(tmp_path, match, items=str(tmp_path / "i.parquet"))


# JSONL


def test_jsonl(tmp_path):
    log = '{"user_id": 1, "item_id": "x", "timestamp": 5.5}\n\n'
    log += '{"user_id": 2, "item_id": "7", "timestamp": "2024-01-02", "k": []}\n'
    items = '{"item_id": "x", "tags": ["a", " b ", ""], "title": null}\n'
    items += '{"item_id": 7, "tags": "c|d", "text": 3}\n'
    _write(tmp_path, interactions__jsonl=log, items__jsonl=items)
    summary, log, items = _run(tmp_path, "jsonl")
    assert (summary["user_id_type"], summary["item_id_type"]) == ("int64", "string")
    assert log.timestamp.tolist() == [5, 1_704_153_600]
    assert items.title.tolist() == ["x", "7"]
    assert items.text.tolist() == ["", "3"]
    assert [list(tags) for tags in items.tags] == [["a", "b"], ["c", "d"]]


def test_jsonl_text_that_looks_like_integers_stays_text(tmp_path):
    _write(
        tmp_path,
        interactions__jsonl='{"user_id": "1", "item_id": 2, "timestamp": 3}\n',
    )
    summary, _, _ = _run(tmp_path, "jsonl")
    assert (summary["user_id_type"], summary["item_id_type"]) == ("string", "int64")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", "line 2: "),
        ("[1]", r"line 2: expected a JSON object, received \[1\]"),
        (
            '{"user_id": 1.5, "item_id": 1}',
            "'user_id': expected an integer or a string",
        ),
        ('{"user_id": 1, "item_id": true}', "'item_id': .* received True"),
        ('{"user_id": 1, "timestamp": 1}', "line 2: column 'item_id': expected an id"),
        ('{"user_id": 1, "item_id": 1}', "line 2: column 'timestamp'"),
        ('{"user_id": 1, "item_id": 1, "timestamp": true}', "received 'true'"),
    ],
)
def test_malformed_jsonl(tmp_path, line, match):
    good = '{"user_id": 1, "item_id": 2, "timestamp": 3}\n'
    _write(tmp_path, interactions__jsonl=good + line + "\n")
    _refused(tmp_path, match, source="jsonl")
    summary, _, _ = _run(tmp_path, "jsonl", on_bad_rows="reject")
    assert (summary["interactions"], summary["rejected"]) == (1, 1)


# Parquet


@pytest.mark.parametrize("name", ["interactions", "interactions.parquet"])
def test_parquet_parts_in_order_of_their_names(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for part, users in (("b", [3, 1]), ("a", [2])):
        table = pa.table(
            {"user_id": users, "item_id": users, "timestamp": users, "other": users}
        )
        pq.write_table(table, folder / f"part-{part}.parquet")
    (folder / "_SUCCESS").touch()
    _, log, items = _run(tmp_path, "parquet")
    assert log.user_id.tolist() == [2, 3, 1]
    assert items.item_id.tolist() == [1, 2, 3]


def test_parquet_parts_of_different_id_types_become_text(tmp_path):
    folder = tmp_path / "interactions"
    folder.mkdir()
    for part, users in (("a", [2]), ("b", ["x"])):
        table = pa.table({"user_id": users, "item_id": [1], "timestamp": [1]})
        pq.write_table(table, folder / f"{part}.parquet")
    _, log, _ = _run(tmp_path, "parquet")
    assert log.user_id.tolist() == ["2", "x"]


def test_parquet_ids_of_another_type(tmp_path):
    table = pa.table({"user_id": [1.5], "item_id": [1], "timestamp": [1]})
    pq.write_table(table, tmp_path / "interactions.parquet")
    _refused(tmp_path, "'user_id' is double; ids must be", source="parquet")


def test_a_null_in_parquet_names_part_and_row(tmp_path):
    frame = pd.DataFrame(
        {
            "user_id": ["a", None],
            "item_id": [1, 2],
            "timestamp": pd.to_datetime(["2024-01-02", "2024-01-03"]),
            "weight": [1.0, 2.0],
        }
    )
    frame.to_parquet(tmp_path / "interactions.parquet")
    match = r"interactions\.parquet: row 2: column 'user_id'.*received None"
    _refused(tmp_path, match, source="parquet")
    summary, _, _ = _run(tmp_path, "parquet", on_bad_rows="reject")
    assert summary["rejected"] == 1
