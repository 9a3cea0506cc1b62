"""The main job: logs in, evaluation and a served model out."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import SETTINGS, himirec, write_config

import tfrs_himirec
from tfrs_himirec.evaluation import users
from tfrs_himirec.schema import catalog

MODELS = {
    "most_popular",
    "markov",
    "himirec_2beams",
    "himirec_4beams",
    "himirec_6beams",
}


def test_package_under_test_is_the_wheel():
    wheel = os.environ.get("HIMIREC_WHEEL")
    if wheel is None:
        pytest.skip("not started by `make test`: the source tree is under test")
    assert pathlib.Path(tfrs_himirec.__file__).is_relative_to(wheel)


def test_evaluation_has_every_model_both_ways(run_dir):
    result = json.loads((run_dir / "evaluation.json").read_text())
    assert result["schema"] == 1
    assert result["protocol"] == "A"
    assert set(result["data"]) >= {"users", "items", "interactions", "leaf_circles"}
    for seen in ("excluded", "kept"):
        assert set(result["seen"][seen]) == MODELS
        for values in result["seen"][seen].values():
            assert all(0 <= value <= 1 for value in values.values())
            for metric in ("recall", "hit_rate", "ndcg"):
                assert values[f"{metric}@5"] <= values[f"{metric}@20"] + 1e-9 or (
                    metric == "ndcg"
                )


def test_trained_model_beats_popularity(run_dir):
    rows = json.loads((run_dir / "evaluation.json").read_text())["seen"]["kept"]
    assert rows["himirec_6beams"]["recall@20"] > rows["most_popular"]["recall@20"]


def test_diagnostics_add_up_to_the_reported_recall(run_dir):
    result = json.loads((run_dir / "evaluation.json").read_text())
    assert set(result["diagnostics"]) == {m for m in MODELS if m.startswith("himirec")}
    events = 5 * result["data"]["evaluated_users"]
    for model, values in result["diagnostics"].items():
        for m in (5, 20):
            recall = result["seen"]["excluded"][model][f"recall@{m}"]
            assert values[f"recall@{m}"] == pytest.approx(recall)
            found = values["ceiling"] * values[f"recall_in_right_circle@{m}"]
            assert found + values[f"found_outside@{m}"] == pytest.approx(recall)
            lost = ("to_quota", "in_circle", "outside")
            lost = sum(values[f"lost_{where}@{m}"] for where in lost)
            assert recall + lost == pytest.approx(1)
        for groups in (v for name, v in values.items() if name.startswith("by_")):
            assert sum(group["events"] for group in groups.values()) == events
        assert sum(values["generated_length"].values()) == pytest.approx(1)


def test_second_run_skips_every_stage(run_dir):
    before = sorted((p, p.stat().st_mtime_ns) for p in (run_dir / ".stages").iterdir())
    settings = run_dir.parent / "tiny.yaml"
    done = himirec("run", "--config", settings, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("up to date, skipped") == 7
    assert before == sorted(
        (p, p.stat().st_mtime_ns) for p in (run_dir / ".stages").iterdir()
    )


def test_no_temporary_files_are_left(run_dir):
    names = [path.name for path in run_dir.rglob("*")]
    known = {".stages", ".lock"}
    assert [n for n in names if n.startswith(".") and n not in known] == []


def lines_until(command: list[str], pattern: str, number: int) -> list[str]:
    """Runs a command until it logs a line that matches, then sends it a signal."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if re.search(pattern, line):
                process.send_signal(number)
                return lines
    return pytest.fail("".join(lines[-20:]))


def test_killed_training_goes_on(tmp_path):
    encoder = SETTINGS["encoder"] | {"epochs": 500, "patience": 500}
    settings = write_config(tmp_path / "long.yaml", encoder=encoder)
    out = tmp_path / "run"
    command = [sys.executable, "-m", "tfrs_himirec.cli.main", "run"]
    command += ["--config", str(settings), "--run-dir", str(out)]
    lines_until(command, "epoch 4 ", signal.SIGKILL)
    assert not (out / "checkpoints" / "encoder.weights.h5").exists()
    again = lines_until(command, r"epoch \d+ ", signal.SIGKILL)
    assert sum("up to date, skipped" in line for line in again) == 2
    assert int(re.search(r"epoch (\d+) ", again[-1])[1]) >= 4


@pytest.fixture(scope="module")
def server(run_dir):
    command = [sys.executable, "-m", "tfrs_himirec.cli.main", "serve"]
    command += ["--model-base", str(run_dir / "models"), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if found := re.search(r"serving himirec version 1 on (\S+)", line):
            yield found.group(1)
            break
    else:
        pytest.fail("the server did not start")
    process.terminate()
    process.communicate()
    assert process.returncode == 0


def test_recommend_command_answers(run_dir, server):
    items = catalog.load(run_dir)
    history = [str(i) for i in items.item_ids[:5]]
    done = himirec(
        "recommend", "--target", server, "--history", ",".join(history),
        "--exclude", ",".join(history), "--catalog", run_dir, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (user,) = json.loads(done.stdout)
    assert len(user["interests"]) == 4
    found = [item["item_id"] for item in user["items"]]
    assert len(found) == len(set(found)) == 20
    assert not set(found) & set(history)
    assert all(item["title"] for item in user["items"])


def test_demo_command_prints_history_interests_and_items(run_dir):
    done = himirec("demo", "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    for heading in ("History", "Interests", "Recommended items"):
        assert heading in done.stdout


def test_histories_hold_no_targets(run_dir):
    test = users.load(run_dir, "test")
    table = pq.read_table(run_dir / "histories")
    by_user = table.group_by("user_id").aggregate([("circle", "count")])
    sizes = np.array([len(x) for x in table["item_ids"].to_pylist()])
    events = sum(len(h) for h in test.histories)
    for split in ("train", "validation"):
        events += sum(len(h) for h in users.load(run_dir, split).histories)
    assert sizes.sum() == events
    assert by_user.num_rows > len(test.histories)


def test_lock_refuses_a_second_process(run_dir):
    import fcntl

    with open(run_dir / ".lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = himirec("evaluate", "--run-dir", run_dir)
    assert done.returncode == 2
    assert "another himirec process" in done.stderr
