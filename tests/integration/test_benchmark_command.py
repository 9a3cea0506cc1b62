"""`himirec benchmark` on a tiny log: jobs in processes of their own, resumed."""

import json

import pytest
import yaml
from conftest import himirec, write_config

MODELS = ["most_popular", "transformer", "comirec_sa", "himirec"]
BENCHMARK = {
    "config": "run.yaml",
    "name": "tiny",
    "seeds": [3],
    "protocols": ["B"],
    "models": MODELS,
    "variants": ["no_sub_libraries", "adaptive_stop"],
    "base": {"comirec_sa": {"epochs": 1, "dim": 8, "places": 10}},
    "search": {"comirec_sa": {"interests": [2, 3]}},
    "skip": {"ease": "not in this test"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    write_config(folder / "run.yaml")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(BENCHMARK))
    return folder


def _run(folder, *arguments):
    done = himirec(
        "benchmark", "--config", folder / "tiny.yaml", "--work-dir", folder / "work",
        "--out", folder / "out", "--json", *arguments,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def results(folder):
    """After one job, and after all of them."""
    return _run(folder, "--only", "most_popular")[0], *_run(folder)


def _names(result):
    shown = [r for r in result["rows"] if r.get("seen") == "excluded"]
    return [(r["model"], r["beams"], r["merge"], r["variant"]) for r in shown]


def test_rows_appear_as_their_jobs_end(results):
    first, result, log = results
    assert _names(first) == [("most_popular", None, None, "")]
    assert "most_popular" not in [line.split()[-1] for line in log.splitlines()]
    assert _names(result) == [
        *((model, None, None, "") for model in MODELS[:3]),
        *(("himirec", b, m, "") for m in ("joint", "quota") for b in (2, 4, 6)),
        ("himirec", 4, "joint", "no_sub_libraries"),
        ("himirec", 4, "joint", "adaptive_stop"),
    ]


def test_every_row_states_what_it_took(results):
    _, result, _ = results
    assert {"model": "ease", "skipped": "not in this test"} in result["rows"]
    for row in result["rows"]:
        if "skipped" in row:
            continue
        assert row["protocol"] == "B"
        assert row["seeds"] == [3]
        assert row["parameters"] > 0
        assert 0 <= row["recall@5"]["mean"] <= row["recall@20"]["mean"] <= 1
        if row["model"] != "most_popular":
            assert row["train_seconds"] > 0
            assert row["events_per_second"] > 0
        if (row["model"], row["beams"]) != ("himirec", 6):
            assert 0 < row["p_value_vs_himirec6"] <= 1
    attempts = result["tuning"]["comirec_sa"]
    assert [a["setting"]["interests"] for a in attempts] == [2, 3]
    assert all(job["peak_memory_mib"] > 100 for job in result["jobs"]["B-3"].values())


def test_a_second_run_trains_nothing(folder, results):
    again, log = _run(folder)
    assert again == results[1]
    assert "job" not in log


def test_unknown_jobs_and_splits_are_refused(folder):
    for option, value in (("--only", "bert"), ("--splits", "A-3")):
        done = himirec("benchmark", "--config", folder / "tiny.yaml", option, value)
        assert done.returncode == 2
        assert value in done.stderr
