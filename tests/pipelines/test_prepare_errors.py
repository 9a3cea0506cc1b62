"""Prepare on bad input and after a failure: named, nothing half-written."""

import json

import pandas as pd
import pytest
from logs import SETTINGS, random_log, write_raw

from beam_pipelines import options, prepare
from tfrs_himirec import errors
from tfrs_himirec.schema import manifest, raw
from tfrs_himirec.tree import kmeans


def test_failure_leaves_nothing_and_can_be_repeated(tmp_path, monkeypatch):
    write_raw(tmp_path, *random_log(False))
    prepare.run(tmp_path, SETTINGS, [])

    def fail(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(kmeans, "build_tree", fail)
        with pytest.raises(RuntimeError, match="killed"):
            prepare.run(tmp_path, SETTINGS, [])
    assert not (tmp_path / manifest.NAME).exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert prepare.run(tmp_path, SETTINGS, []).counts.users > 0


def test_remains_of_a_killed_run_are_cleared(tmp_path):
    write_raw(tmp_path, *random_log(False))
    remains = tmp_path / ".prepare-work" / "clean"
    remains.mkdir(parents=True)
    (remains / "clean-00099.parquet").write_text("half")
    prepare.run(tmp_path, SETTINGS, [])
    assert not (tmp_path / ".prepare-work").exists()


def test_items_named_twice_are_refused(tmp_path):
    log, items = random_log(False)
    items = pd.concat([items, items.iloc[[4]]], ignore_index=True)
    with pytest.raises(errors.HimirecError, match="4 is in rows 5 and 121"):
        prepare.run(write_raw(tmp_path, log, items), SETTINGS, [])


def test_empty_log_is_refused(tmp_path):
    log, items = random_log(False)
    with pytest.raises(errors.HimirecError, match="no events"):
        prepare.run(write_raw(tmp_path, log[:0], items), SETTINGS, [])


@pytest.mark.parametrize("name", ["min_item_events", "min_user_events"])
def test_filters_that_leave_nothing_are_named(tmp_path, name):
    write_raw(tmp_path, *random_log(False))
    settings = SETTINGS.model_copy(update={name: 10_000})
    with pytest.raises(errors.HimirecError, match=f"prepare.{name} = 10000"):
        prepare.run(tmp_path, settings, [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw"]


def test_only_rejected_rows_are_refused(tmp_path):
    log, items = random_log(False)
    with pytest.raises(errors.HimirecError, match="no item"):
        prepare.run(write_raw(tmp_path, log.assign(weight=-1), items), SETTINGS, [])


@pytest.mark.parametrize("runner", ["DaskRunner", "DirectRunner"])
def test_runners_that_lose_data_or_download_are_refused(runner):
    with pytest.raises(errors.HimirecError, match=runner):
        options.build([f"--runner={runner}"])


def test_another_schema_version_is_kept_unless_forced(tmp_path):
    write_raw(tmp_path, *random_log(False))
    prepare.run(tmp_path, SETTINGS, [])
    path = tmp_path / manifest.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(errors.HimirecError, match="schema version 99.*--force"):
        prepare.run(tmp_path, SETTINGS, [])
    assert path.exists()
    assert (tmp_path / "catalog").exists()
    prepare.run(tmp_path, SETTINGS, [], force=True)
    assert manifest.load(tmp_path).counts.users > 0


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (raw.INTERACTIONS, lambda f: f.drop(columns="weight"), "'weight' is missing"),
        (raw.ITEMS, lambda f: f.drop(columns="tags"), "'tags' is missing"),
        (
            raw.INTERACTIONS,
            lambda f: f.assign(timestamp=f["timestamp"].astype(str)),
            "'timestamp' is .*string, expected int64",
        ),
        (
            raw.ITEMS,
            lambda f: f.assign(item_id=f["item_id"].astype(str)),
            "item_id is string, but int64",
        ),
        (
            raw.ITEMS,
            lambda f: f.assign(item_id=f["item_id"].astype("Int64").where(f.index > 2)),
            "row 1 has no item_id",
        ),
    ],
)
def test_raw_files_that_break_the_contract_are_named(tmp_path, name, change, message):
    write_raw(tmp_path, *random_log(False))
    path = tmp_path / "raw" / name
    frame = pd.read_parquet(path, dtype_backend="numpy_nullable")
    change(frame).to_parquet(path)
    with pytest.raises(errors.HimirecError, match=f"{name}.*{message}"):
        prepare.run(tmp_path, SETTINGS, [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw"]


def test_raw_file_that_is_not_parquet_is_named(tmp_path):
    write_raw(tmp_path, *random_log(False))
    (tmp_path / "raw" / raw.ITEMS).write_text("item_id\n1\n")
    with pytest.raises(errors.HimirecError, match="items.parquet: not a Parquet file"):
        prepare.run(tmp_path, SETTINGS, [])
