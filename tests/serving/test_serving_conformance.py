"""The calls of TF Serving's API, with the status codes that TF Serving gives."""

import concurrent.futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
import toy_model
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

HISTORY = np.array([[1, 5]], np.int64)
OUTPUTS = {
    "item_ids",
    "scores",
    "circles",
    "interest_probabilities",
    "result_interest",
}


def request(inputs=None, name="himirec", signature="", version=None, outputs=()):
    """Returns a PredictRequest; `inputs` holds arrays and ready TensorProtos."""
    result = predict_pb2.PredictRequest(output_filter=outputs)
    result.model_spec.name = name
    result.model_spec.signature_name = signature
    if version is not None:
        result.model_spec.version.value = version
    for alias, value in (inputs or {"history": HISTORY}).items():
        is_proto = isinstance(value, tensor_pb2.TensorProto)
        result.inputs[alias].CopyFrom(
            value if is_proto else tf.make_tensor_proto(value)
        )
    return result


def labelled():
    result = request()
    result.model_spec.version_label = "canary"
    return result


def without_spec():
    result = request()
    result.ClearField("model_spec")
    return result


def proto(dtype=tf.int64, sizes=(1, 2), **values):
    shape = {"dim": [{"size": size} for size in sizes]}
    number = getattr(dtype, "as_datatype_enum", dtype)
    return tensor_pb2.TensorProto(dtype=number, tensor_shape=shape, **values)


NOT_FOUND = grpc.StatusCode.NOT_FOUND
INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
REFUSED = {
    "unknown model": (
        request(name="other"),
        NOT_FOUND,
        "Servable not found for request: Latest(other)",
    ),
    "very long model name": (request(name="x" * 100_000), NOT_FOUND, "Latest(xxx"),
    "older version": (
        request(version=2),
        NOT_FOUND,
        "Servable not found for request: Specific(himirec, 2)",
    ),
    "version label": (labelled(), INVALID, "label: canary"),
    "no model spec": (without_spec(), INVALID, "Missing ModelSpec"),
    "unknown signature": (
        request(signature="x"),
        PRECONDITION,
        'Serving signature key "x" not found.',
    ),
    "signature of the loader": (
        request(signature="__saved_model_init_op"),
        PRECONDITION,
        "not found",
    ),
    "missing input": (
        request({"history_length": np.array([2])}),
        INVALID,
        "input size does not match signature: 1!=3 len({history_length}) != "
        "len({exclude,history,history_length}). Sent extra: {}. "
        "Missing but required: {history}.",
    ),
    "missing input, no defaults": (
        request({"history": HISTORY}, signature="recommend_examples"),
        INVALID,
        "Missing but required: {examples}",
    ),
    "extra input": (
        request({"history": HISTORY, "user": HISTORY}),
        INVALID,
        "Sent extra: {user}",
    ),
    "dtype": (
        request({"history": [["1"]]}),
        INVALID,
        "input history: expected DT_INT64 of shape (None, None), received DT_STRING",
    ),
    "rank": (
        request({"history": np.array([1, 5])}),
        INVALID,
        "input history: expected DT_INT64 of shape (None, None), received shape (2,)",
    ),
    "unknown output": (
        request(outputs=["item_ids", "titles"]),
        INVALID,
        "output tensor alias not found in signature: titles",
    ),
    "duplicate output": (
        request(outputs=["scores", "scores"]),
        INVALID,
        "duplicate output tensor alias: scores",
    ),
    "value that the graph refuses": (
        request({"history": np.array([[toy_model.FORBIDDEN]])}),
        INVALID,
        "",
    ),
    "failure in the graph": (
        request({"history": np.array([[toy_model.BROKEN]])}),
        grpc.StatusCode.INTERNAL,
        "/no/such/file",
    ),
    "truncated content": (
        request({"history": proto(tensor_content=b"123")}),
        INVALID,
        "tensor parsing error: history",
    ),
    "values in the wrong field": (
        request({"history": proto(float_val=[1.0], tensor_content=b"x")}),
        INVALID,
        "tensor parsing error: history",
    ),
    "negative size": (
        request({"history": proto(sizes=(1, -5))}),
        INVALID,
        "tensor parsing error: history",
    ),
    "terabytes": (
        request({"history": proto(sizes=(1 << 20, 1 << 20), int64_val=[1])}),
        INVALID,
        "more than",
    ),
    "no dtype": (request({"history": tensor_pb2.TensorProto()}), INVALID, "DT_INVALID"),
    "no such dtype": (request({"history": proto(99)}), INVALID, "unknown type 99"),
    "variant": (request({"history": proto(tf.variant)}), INVALID, "DT_VARIANT"),
    "resource": (request({"history": proto(tf.resource)}), INVALID, "DT_RESOURCE"),
    "unknown rank": (
        request(
            {
                "history": tensor_pb2.TensorProto(
                    dtype=9, tensor_shape={"unknown_rank": True}
                )
            }
        ),
        INVALID,
        "history",
    ),
}


def arrays(response):
    return {alias: tf.make_ndarray(out) for alias, out in response.outputs.items()}


def test_predict_uses_the_newest_version(predictions):
    response = predictions.Predict(request())
    assert response.model_spec.name == "himirec"
    assert response.model_spec.version.value == 10
    assert response.model_spec.signature_name == "serving_default"
    assert response.outputs.keys() == OUTPUTS
    assert arrays(response)["item_ids"].tolist() == [[15, 25, 35]]
    assert arrays(response)["circles"].tolist() == [[b"1/2", b""]]


def test_predict_answers_in_the_typed_fields(predictions):
    outputs = predictions.Predict(request(version=10)).outputs
    assert list(outputs["item_ids"].int64_val) == [15, 25, 35]
    assert list(outputs["scores"].float_val) == [3.0, 2.0, 1.0]
    assert list(outputs["result_interest"].int_val) == [0, 0, -1]


def test_predict_lets_inputs_replace_defaults(predictions):
    response = predictions.Predict(
        request(
            {
                "history": HISTORY,
                "history_length": np.array([1]),
                "exclude": np.array([[21]]),
            }
        )
    )
    assert arrays(response)["item_ids"].tolist() == [[11, -1, 31]]


def test_predict_honours_the_output_filter(predictions):
    response = predictions.Predict(request(outputs=["scores", "circles"]))
    assert response.outputs.keys() == {"scores", "circles"}


def test_predict_other_signature(predictions):
    response = predictions.Predict(request(signature="mine_interests"))
    assert response.outputs.keys() == {"circles", "interest_probabilities"}
    assert response.model_spec.signature_name == "mine_interests"


@pytest.mark.parametrize(("call", "code", "text"), REFUSED.values(), ids=REFUSED)
def test_predict_refuses(predictions, call, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        predictions.Predict(call)
    assert caught.value.code() is code
    assert text in caught.value.details()
    assert predictions.Predict(request()).outputs


def test_bytes_that_are_no_request_do_not_stop_the_server(channel, predictions):
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        raw(b"\xff\xff\xff\x00")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert predictions.Predict(request()).outputs


def test_predict_takes_a_huge_batch(predictions):
    history = np.tile(np.arange(1, 51), (20_000, 1))
    response = predictions.Predict(request({"history": history}, outputs=["item_ids"]))
    ids = arrays(response)["item_ids"]
    np.testing.assert_array_equal(ids, np.tile([60, 70, 80], (20_000, 1)))


def test_failing_requests_do_not_disturb_their_neighbours(predictions):
    def call(number):
        last = toy_model.BROKEN if number % 5 == 0 else 1000 + number
        try:
            response = predictions.Predict(request({"history": np.array([[last]])}))
        except grpc.RpcError as error:
            return error.code()
        return arrays(response)["item_ids"].tolist()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(400)))
    for number, answer in enumerate(answers):
        good = [[1000 + number + 10 * place for place in (1, 2, 3)]]
        assert answer == (grpc.StatusCode.INTERNAL if number % 5 == 0 else good)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("Classify", classification_pb2.ClassificationRequest()),
        ("Regress", regression_pb2.RegressionRequest()),
        ("MultiInference", inference_pb2.MultiInferenceRequest()),
    ],
)
def test_example_apis_are_unimplemented(predictions, method, message):
    with pytest.raises(grpc.RpcError) as caught:
        getattr(predictions, method)(message)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def metadata_request(name="himirec", fields=("signature_def",)):
    return get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec={"name": name}, metadata_field=fields
    )


def test_metadata_describes_every_signature(predictions):
    response = predictions.GetModelMetadata(metadata_request())
    assert response.model_spec.version.value == 10
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    recommend = signatures.signature_def["serving_default"]
    assert recommend.inputs["history"].dtype == tf.int64.as_datatype_enum
    assert set(recommend.defaults) == {"history_length", "exclude"}
    assert set(recommend.outputs) == OUTPUTS


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (get_model_metadata_pb2.GetModelMetadataRequest(), INVALID),
        (metadata_request(fields=()), INVALID),
        (metadata_request(fields=("weights",)), INVALID),
        (metadata_request("other"), NOT_FOUND),
    ],
)
def test_metadata_refuses(predictions, call, code):
    with pytest.raises(grpc.RpcError) as caught:
        predictions.GetModelMetadata(call)
    assert caught.value.code() is code


def status_request(name="himirec", **spec):
    return get_model_status_pb2.GetModelStatusRequest(model_spec={"name": name, **spec})


@pytest.mark.parametrize("spec", [{}, {"version": {"value": 10}}])
def test_status_of_a_loaded_model(models, spec):
    (status,) = models.GetModelStatus(status_request(**spec)).model_version_status
    assert status.version == 10
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert status.status.error_code == 0


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        (get_model_status_pb2.GetModelStatusRequest(), INVALID, "Missing ModelSpec"),
        (status_request("other"), NOT_FOUND, "any versions of model other"),
        (status_request(version={"value": 2}), NOT_FOUND, "version 2 of model himirec"),
    ],
)
def test_status_refuses(models, call, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        models.GetModelStatus(call)
    assert caught.value.code() is code
    assert text in caught.value.details()


def test_reload_is_unimplemented(models):
    with pytest.raises(grpc.RpcError) as caught:
        models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
