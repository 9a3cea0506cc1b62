"""The other settings of the chain: integer ids, Eq. 3, quota merge, adaptive stop."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import SETTINGS, himirec, write_config

from tfrs_himirec.cli import main


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run on a CSV log with integer ids and columns of its own."""
    folder = tmp_path_factory.mktemp("variants")
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(100), 40)
    items = (users * 7 + rng.integers(0, 25, len(users))) % 90
    log = pd.DataFrame({"who": users, "what": items, "at": np.arange(len(users))})
    log.to_csv(folder / "interactions.csv", index=False)
    settings = write_config(
        folder / "variants.yaml",
        data={
            "source": "csv",
            "raw": str(folder / "interactions.csv"),
            "columns": {"user_id": "who", "item_id": "what", "timestamp": "at"},
        },
        prepare=SETTINGS["prepare"] | {"embedding": {"kind": "behavior", "dim": 8}},
        generator=SETTINGS["generator"] | {"stop": "adaptive"},
        towers=SETTINGS["towers"] | {"loss": "bce", "full_softmax_items": 0},
        recommend={"beams": 3, "results": 10, "merge": "quota"},
    )
    arguments = ["run", "--config", str(settings), "--run-dir", str(folder / "run")]
    assert main.main(arguments) == 0
    return folder / "run"


def test_evaluation_is_complete(run_dir):
    seen = json.loads((run_dir / "evaluation.json").read_text())["seen"]
    assert seen["excluded"]["himirec_6beams"]["recall@20"] > 0


def test_served_answers_keep_to_the_quota_rules(run_dir):
    model = tf.saved_model.load(str(run_dir / "models" / "himirec" / "1"))
    history = tf.constant([[1, 2, 3, 4], [50, 51, 52, 7]], tf.int64)
    answer = model.signatures["serving_default"](
        history=history,
        history_length=tf.constant([4, 3], tf.int64),
        exclude=tf.constant([[5], [-1]], tf.int64),
    )
    items = answer["item_ids"].numpy()
    assert items.dtype == np.int64
    assert all(len(set(row)) == 10 for row in items)
    assert 5 not in items[0]
    total = answer["interest_probabilities"].numpy().sum(axis=1)
    assert (total <= 1 + 1e-5).all()


def test_export_again_makes_the_next_version(run_dir):
    base = run_dir / "models" / "himirec"
    done = himirec("export", "--run-dir", run_dir, "--index", "scann", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"model_base": str(base)}
    assert sorted(path.name for path in base.iterdir()) == ["1", "2"]
    assert json.loads((base / "2" / "himirec.json").read_text())["index"] == "scann"
    done = himirec("export", "--run-dir", run_dir, "--index", "scann")
    assert "up to date" in done.stderr
