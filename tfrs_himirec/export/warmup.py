"""Warm-up records: a broken model fails to load instead of failing requests."""

import pathlib

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

_FILE = pathlib.Path("assets.extra", "tf_serving_warmup_requests")


def write(
    directory: pathlib.Path, model: str, histories: list[np.ndarray], circle: str
) -> None:
    """Writes one record per history and signature (at most 1000 are allowed).

    Args:
      directory: of the SavedModel.
      model: name that the requests carry.
      histories: item ids of example users, int64 or object arrays.
      circle: path of a circle that exists.
    """
    path = directory / _FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for history in histories:
            for signature, inputs in _requests(history, circle).items():
                log = _log(model, signature, inputs)
                writer.write(log.SerializeToString(deterministic=True))


def _requests(history: np.ndarray, circle: str) -> dict[str, dict[str, np.ndarray]]:
    dense = {
        "history": history[None],
        "history_length": np.array([len(history)], np.int64),
    }
    exclude = {"exclude": history[None, -1:]}
    return {
        "serving_default": dense | exclude,
        "recommend_examples": {"examples": np.array([example(history)], object)},
        "mine_interests": dense,
        "retrieve": dense
        | exclude
        | {"circle": np.array([circle], object), "split_history": history[None]},
    }


def example(history: np.ndarray) -> bytes:
    """Returns a serialized `tf.Example` with the feature `history`."""
    feature = tf.train.Feature()
    if history.dtype == object:
        feature.bytes_list.value.extend(item.encode() for item in history)
    else:
        feature.int64_list.value.extend(history.tolist())
    features = tf.train.Features(feature={"history": feature})
    return tf.train.Example(features=features).SerializeToString(deterministic=True)


def _log(model: str, signature: str, inputs: dict) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=model, signature_name=signature)
    )
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=log)
