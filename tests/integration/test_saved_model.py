"""The SavedModel as TensorFlow Serving sees it: V1 loader, stock ops, signatures."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec.export import serving_module, warmup
from tfrs_himirec.models import recommender
from tfrs_himirec.schema import catalog
from tfrs_himirec.training import artefacts

OUTPUTS = {"item_ids", "scores", "circles", "interest_probabilities", "result_interest"}

# Runs a signature as TF Serving does: a session over the V1 loader, nothing of ours
# imported. Reads feeds from stdin as JSON, prints the fetches as JSON.
V1_PROGRAM = """
import json, sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()
directory, name, feeds = json.loads(sys.stdin.read())
with tf.Session(graph=tf.Graph()) as session:
    signature = tf.saved_model.load(session, ["serve"], directory).signature_def[name]
    feed = {}
    for key, info in signature.inputs.items():
        if key in feeds:
            value = np.array(feeds[key], tf.as_dtype(info.dtype).as_numpy_dtype)
        else:
            value = tf.make_ndarray(signature.defaults[key])
        feed[info.name] = value
    fetches = {key: info.name for key, info in signature.outputs.items()}
    found = session.run(fetches, feed)
def text(a):
    return (np.char.decode(a.astype(bytes)) if a.dtype == object else a).tolist()
print(json.dumps({key: text(value) for key, value in found.items()}))
"""

# Lists the operations of a SavedModel that plain TensorFlow does not know.
OPS_PROGRAM = """
import pathlib, sys
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
proto = saved_model_pb2.SavedModel()
proto.ParseFromString(pathlib.Path(sys.argv[1], "saved_model.pb").read_bytes())
graph = proto.meta_graphs[0].graph_def
nodes = list(graph.node) + [n for f in graph.library.function for n in f.node_def]
own = {f.signature.name for f in graph.library.function}
ops = {n.op for n in nodes} - own
print(sorted(op for op in ops if op_def_registry.get(op) is None))
"""


def run_v1(directory, signature: str, **feeds) -> dict:
    program = [sys.executable, "-c", V1_PROGRAM]
    request = json.dumps([str(directory), signature, feeds])
    done = subprocess.run(program, input=request, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def items(run_dir):
    return catalog.load(run_dir)


@pytest.fixture(scope="module")
def loaded(version_dir):
    """Signatures that fill missing inputs, as TF Serving does from the defaults."""
    model = tf.saved_model.load(str(version_dir))
    nothing = tf.constant([[""]])
    defaults = {
        "history_length": tf.constant([-1], tf.int64),
        "exclude": nothing,
        "split_history": nothing,
    }

    def calling(function):
        names = set(function.structured_input_signature[1])
        missing = {n: v for n, v in defaults.items() if n in names}
        return lambda **inputs: function(**(missing | inputs))

    calls = {n: calling(f) for n, f in model.signatures.items()}
    return calls | {"model": model}


@pytest.fixture(scope="module")
def python_model(run_dir, settings):
    prepared = artefacts.Prepared(run_dir)
    models = artefacts.load_models(settings, prepared)
    return recommender.Recommender(settings, prepared.tree, prepared.catalog, *models)


def ids(items, *places):
    return tf.constant([[items.item_ids[p] for p in row] for row in places])


def test_v1_loader_in_a_fresh_process_gives_the_python_models_answer(
    version_dir, python_model, items
):
    places = [3, 50, 7, 21]
    history = [items.item_ids[places].tolist()]
    found = run_v1(version_dir, "serving_default", history=history)
    rows = tf.constant([items.rows[places]], tf.int32)
    wanted = python_model.recommend(rows, tf.constant([[-1]]))
    np.testing.assert_allclose(found["scores"], wanted.scores, rtol=1e-4)
    np.testing.assert_allclose(
        found["interest_probabilities"], wanted.probability, rtol=1e-4
    )
    assert found["item_ids"] == [items.item_ids[wanted.places[0].numpy()].tolist()]
    paths = python_model.tree.paths
    assert found["circles"] == [[paths[node] for node in wanted.nodes[0].numpy()]]


@pytest.mark.parametrize("signature", ["mine_interests", "retrieve"])
def test_v1_loader_runs_the_other_signatures(version_dir, items, signature):
    feeds = {"history": [items.item_ids[[3, 50]].tolist()]}
    if signature == "retrieve":
        feeds["circle"] = ["0"]
    found = run_v1(version_dir, signature, **feeds)
    assert all(len(value) == 1 for value in found.values())


def test_stock_operations_only(version_dir):
    program = [sys.executable, "-c", OPS_PROGRAM, str(version_dir)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_saved_model_cli_prints_every_signature(version_dir):
    tool = pathlib.Path(sys.executable).with_name("saved_model_cli")
    done = subprocess.run(
        [tool, "show", "--dir", version_dir, "--all"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for name in serving_module.SIGNATURES:
        assert f"signature_def['{name}']" in done.stdout


def test_every_output_starts_with_the_batch(loaded, items):
    history = ids(items, [1, 2], [3, 4], [5, 6])
    answer = loaded["serving_default"](history=history)
    assert set(answer) == OUTPUTS
    assert {value.shape[0] for value in answer.values()} == {3}


def test_padding_after_the_length_is_ignored(loaded, items):
    alone = loaded["serving_default"](history=ids(items, [1, 2]))
    padded = loaded["serving_default"](
        history=ids(items, [1, 2, 9, 9], [5, 6, 7, 8]),
        history_length=tf.constant([2, 4], tf.int64),
    )
    assert (alone["item_ids"][0] == padded["item_ids"][0]).numpy().all()


def test_unknown_ids_are_ignored(loaded, items):
    known = loaded["serving_default"](history=ids(items, [1, 2]))
    a, b = items.item_ids[1], items.item_ids[2]
    mixed = loaded["serving_default"](history=tf.constant([["?", a, "no", b, ""]]))
    assert (known["item_ids"] == mixed["item_ids"]).numpy().all()


@pytest.mark.parametrize("history", [[["?", "no"]], np.zeros([1, 0], str).tolist()])
def test_without_known_history_the_answer_is_popular(loaded, items, history):
    request = tf.constant(history, tf.string, shape=[1, len(history[0])])
    answer = loaded["serving_default"](history=request)
    count = dict(zip(items.item_ids, items.counts, strict=True))
    found = [count[i.decode()] for i in answer["item_ids"][0].numpy()]
    assert found == sorted(items.counts, reverse=True)[: len(found)]
    assert (np.diff(answer["scores"][0]) < 0).all()
    assert all(path for path in answer["circles"][0].numpy())


def test_excluded_items_are_not_returned(loaded, items):
    history = ids(items, [1, 2, 3])
    first = loaded["serving_default"](history=history)["item_ids"][0]
    exclude = first[None, :10]
    again = loaded["serving_default"](history=history, exclude=exclude)
    assert not set(exclude.numpy()[0]) & set(again["item_ids"].numpy()[0])


def test_result_interest_names_the_circle_of_the_item(loaded, items, run_dir):
    answer = loaded["serving_default"](history=ids(items, [1, 60, 90]))
    prefix = dict(enumerate(answer["circles"][0].numpy()))
    from tfrs_himirec.tree import circle_tree

    tree = circle_tree.load(run_dir)
    place = {item: p for p, item in enumerate(items.item_ids)}
    pairs = zip(answer["item_ids"][0], answer["result_interest"][0], strict=True)
    for item, interest in pairs:
        if interest >= 0:
            leaf = tree.leaf_of_place[place[item.numpy().decode()]]
            assert tree.paths[leaf].startswith(prefix[int(interest)].decode())


def test_examples_of_mixed_lengths_get_the_dense_answers(loaded, items):
    histories = [items.item_ids[[1, 2, 3]], items.item_ids[[50]], items.item_ids[:0]]
    examples = tf.constant([warmup.example(history) for history in histories])
    answers = loaded["recommend_examples"](examples=examples)
    for row, history in enumerate(histories[:2]):
        alone = loaded["serving_default"](history=tf.constant([history.tolist()]))
        assert (alone["item_ids"][0] == answers["item_ids"][row]).numpy().all()


def test_retrieve_stays_inside_the_circle(loaded, items, python_model):
    tree = python_model.tree
    for node in (1, int(tree.leaves[0])):
        answer = loaded["retrieve"](
            circle=tf.constant([tree.paths[node]]), history=ids(items, [1, 2])
        )
        found = [i.decode() for i in answer["item_ids"][0].numpy() if i]
        inside = set(items.item_ids[tree.start[node] : tree.end[node]])
        assert found
        assert set(found) <= inside


def test_warm_up_covers_every_signature(version_dir):
    from tensorflow_serving.apis import prediction_log_pb2

    path = version_dir / "assets.extra" / "tf_serving_warmup_requests"
    names = set()
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        names.add(log.predict_log.request.model_spec.signature_name)
    assert names == set(serving_module.SIGNATURES)


def test_himirec_json_pairs_the_model_with_its_tree(version_dir, python_model):
    description = json.loads((version_dir / "himirec.json").read_text())
    assert description["fingerprints"]["tree"] == python_model.tree.fingerprint
    assert description["index"] == "exact"
    assert description["packages"]["tensorflow"] == tf.__version__
