import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import toy_model
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving import model_store
from tfrs_himirec import errors


@pytest.fixture
def version(model_base, tmp_path):
    """A version directory that a test may change."""
    return shutil.copytree(model_base / "himirec" / "10", tmp_path / "himirec" / "3")


def warm_up(version, *records):
    (version / "assets.extra").mkdir()
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def predict_log(last, signature="serving_default"):
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    request.inputs["history"].CopyFrom(tf.make_tensor_proto(np.array([[last]])))
    log = prediction_log_pb2.PredictionLog(predict_log={"request": request})
    return log.SerializeToString()


def test_base_of_several_models(model_base):
    found = model_store.find_models(model_base)
    assert {name: sorted(versions) for name, versions in found.items()} == {
        "himirec": [2, 10],
        "words": [1],
    }


def test_base_of_one_model(model_base, monkeypatch):
    assert list(model_store.find_models(model_base / "himirec")) == ["himirec"]
    monkeypatch.chdir(model_base / "himirec")
    assert list(model_store.find_models(".")) == ["himirec"]


def test_only_the_newest_version_is_loaded(version):
    shutil.copytree(version, version.parent / "1")
    store = model_store.load_newest(version.parent)
    assert list(store.models["himirec"]) == [3]


def test_missing_base(tmp_path):
    with pytest.raises(errors.HimirecError, match="no such model base.*export"):
        model_store.find_models(tmp_path / "none")


def test_base_without_versions(tmp_path):
    (tmp_path / "himirec" / ".1.partial").mkdir(parents=True)
    with pytest.raises(errors.HimirecError, match=f"{tmp_path}: no model version"):
        model_store.find_models(tmp_path)


def test_directory_that_is_no_saved_model(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(errors.HimirecError, match="SavedModel does not load"):
        model_store.load_newest(tmp_path)


def test_warm_up_is_replayed(version):
    warm_up(version, predict_log(1), predict_log(2, "mine_interests"))
    assert model_store.load_newest(version.parent).models


FAILING_RECORDS = {
    "refused value": (predict_log(toy_model.FORBIDDEN), "warm-up failed"),
    "failing graph": (predict_log(toy_model.BROKEN), "/no/such/file"),
    "no such signature": (predict_log(1, "gone"), 'key "gone" not found'),
    "empty log": (b"", "record 1: not a predict_log"),
    "no log": (b"\xff", "warm-up failed"),
}


@pytest.mark.parametrize(
    ("record", "message"), FAILING_RECORDS.values(), ids=FAILING_RECORDS
)
def test_failing_warm_up_fails_the_load(version, record, message):
    warm_up(version, predict_log(1), record)
    with pytest.raises(errors.HimirecError, match=message):
        model_store.load_newest(version.parent)


def test_too_many_warm_up_records(version):
    warm_up(version, *[predict_log(1)] * 1001)
    with pytest.raises(errors.HimirecError, match="more than 1000 records"):
        model_store.load_newest(version.parent)


def test_damaged_warm_up_file_fails_the_load(version):
    warm_up(version, predict_log(1))
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(errors.HimirecError, match="warm-up failed"):
        model_store.load_newest(version.parent)


def save_scann_model(directory):
    from scann.scann_ops.py import scann_ops

    vectors = tf.random.stateless_normal([32, 8], [7, 7])
    searcher = scann_ops.builder(vectors, 3, "dot_product").score_brute_force().build()
    module = searcher.serialize_to_module()
    query = tf.TensorSpec([None, 8], tf.float32, name="query")

    @tf.function(input_signature=[query])
    def search(query):
        restored = scann_ops.searcher_from_module(module, vectors)
        places, scores = restored.search_batched(query)
        return {"places": places, "scores": scores}

    module.search = search
    tf.saved_model.save(module, str(directory), {"serving_default": search})


LOAD = """
import sys
from serving import model_store
from tfrs_himirec import errors
try:
    print(model_store.load_newest(sys.argv[1]).models)
except errors.HimirecError as error:
    sys.exit(f"HimirecError: {error}")
"""


def load_in_a_fresh_process(base):
    command = [sys.executable, "-c", LOAD, str(base)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_scann_flag_imports_the_ops(tmp_path):
    save_scann_model(tmp_path / "1")
    (tmp_path / "1" / "himirec.json").write_text(json.dumps({"index": "exact"}))
    without = load_in_a_fresh_process(tmp_path)
    assert without.returncode == 1
    assert "HimirecError" in without.stderr
    assert "Scann" in without.stderr
    (tmp_path / "1" / "himirec.json").write_text(json.dumps({"index": "scann"}))
    assert load_in_a_fresh_process(tmp_path).returncode == 0


def test_scann_flag_without_scann(version, monkeypatch):
    (version / "himirec.json").write_text(json.dumps({"index": "scann"}))
    monkeypatch.setitem(sys.modules, "scann.scann_ops.py.scann_ops", None)
    with pytest.raises(errors.HimirecError, match=r"pip install scann\[tf\]"):
        model_store.load_newest(version.parent)
