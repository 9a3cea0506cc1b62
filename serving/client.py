"""Client of an exported model, on `himirec serve` or TensorFlow Serving."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import answers
from tfrs_himirec import errors

_UNLIMITED = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class Client:
    """Calls one model over one connection, which all threads may share.

    ```python
    with client.Client("localhost:8500") as himirec:
        (answer,) = himirec.recommend([[1, 2, 3]], exclude=[[5]])
        answer.items[0].item_id
    ```

    Every method takes a list with one entry for each user and returns a list in the
    same order. Every method raises HimirecError when no server answers within
    `timeout` seconds, the model is unknown, or the server refuses the request.

    Attributes:
      target: `host:port`.
      model: name of the model.
      timeout: seconds a call may take.
    """

    def __init__(self, target: str, model: str = "himirec", timeout: float = 10.0):
        self.target = target
        self.model = model
        self.timeout = timeout
        self._channel = grpc.insecure_channel(target, options=_UNLIMITED)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    @functools.cached_property
    def id_dtype(self) -> tf.DType:
        """tf.int64 or tf.string, as the model's metadata says."""
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = self.model
        request.metadata_field.append("signature_def")
        with self._errors():
            response = self._stub.GetModelMetadata(request, timeout=self.timeout)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        inputs = signatures.signature_def["serving_default"].inputs
        if "history" not in inputs:
            raise errors.HimirecError(
                f"{self.target}: model {self.model!r} has no input 'history' and was "
                "not exported by `himirec export`; choose another --model"
            )
        return tf.as_dtype(inputs["history"].dtype)

    def recommend(
        self,
        histories: Sequence[Sequence[answers.Id]],
        exclude: Sequence[Sequence[answers.Id]] | None = None,
    ) -> list[answers.Recommendation]:
        """Generates interests and retrieves items.

        Args:
          histories: item ids of each user, oldest first.
          exclude: item ids that must not be returned, one list for each user or one
            for all.
        """
        inputs = self._history(histories) | {"exclude": self._exclude(exclude)}
        return answers.recommendations(self._predict("serving_default", inputs))

    def recommend_examples(
        self, examples: Sequence[bytes]
    ) -> list[answers.Recommendation]:
        """The same from serialized tf.Examples: `history`, optional `exclude`."""
        inputs = {"examples": np.array(examples, dtype=object)}
        return answers.recommendations(self._predict("recommend_examples", inputs))

    def mine_interests(
        self, histories: Sequence[Sequence[answers.Id]]
    ) -> list[list[answers.Interest]]:
        """Generates interests only."""
        outputs = self._predict("mine_interests", self._history(histories))
        return answers.interests(outputs)

    def retrieve(
        self,
        circles: Sequence[str],
        histories: Sequence[Sequence[answers.Id]],
        split_histories: Sequence[Sequence[answers.Id]] | None = None,
        exclude: Sequence[Sequence[answers.Id]] | None = None,
    ) -> list[list[answers.Item]]:
        """Retrieves items inside one circle for each user.

        Args:
          circles: path text of each user's circle.
          histories: the recent item ids of each user, oldest first.
          split_histories: the items of each user's whole past that are inside the
            circle; taken from `histories` when None.
          exclude: as in `recommend`.
        """
        inputs = self._history(histories) | {
            "circle": np.array([circle.encode() for circle in circles], dtype=object),
            "exclude": self._exclude(exclude),
        }
        if split_histories is not None:
            inputs["split_history"] = self._rectangle(split_histories)
        outputs = self._predict("retrieve", inputs)
        return [
            answers.items(ids, scores, [circle] * len(ids))
            for ids, scores, circle in zip(
                outputs["item_ids"], outputs["scores"], circles, strict=True
            )
        ]

    def _history(
        self, histories: Sequence[Sequence[answers.Id]]
    ) -> dict[str, np.ndarray]:
        lengths = np.array([len(history) for history in histories], dtype=np.int64)
        return {"history": self._rectangle(histories), "history_length": lengths}

    def _exclude(self, exclude: Sequence[Sequence[answers.Id]] | None) -> np.ndarray:
        return self._rectangle([[]] if exclude is None else exclude)

    def _rectangle(self, rows: Sequence[Sequence[answers.Id]]) -> np.ndarray:
        """Pads to `[batch, longest row]` with the id that stands for nothing."""
        is_string = self.id_dtype == tf.string
        convert, pad = (_string_id, b"") if is_string else (_int_id, -1)
        width = max([1, *map(len, rows)])
        result = np.full([len(rows), width], pad, object if is_string else np.int64)
        for place, row in enumerate(rows):
            result[place, : len(row)] = [convert(value) for value in row]
        return result

    def _predict(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, list[Any]]:
        """Returns every output as nested lists; strings are str."""
        _check_batch(inputs)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model
        request.model_spec.signature_name = signature
        for alias, values in inputs.items():
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
        with self._errors():
            response = self._stub.Predict(request, timeout=self.timeout)
        return {alias: _lists(proto) for alias, proto in response.outputs.items()}

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            remedy = self._remedy(error.code())
            detail = " ".join(f"{error.code().name}: {error.details()}".split())
            raise errors.HimirecError(f"{self.target}: {remedy} ({detail})") from error

    def _remedy(self, code: grpc.StatusCode) -> str:
        return {
            grpc.StatusCode.UNAVAILABLE: "no server answers; start one with `himirec "
            "serve` or correct --target",
            grpc.StatusCode.NOT_FOUND: f"serves no model {self.model!r}; correct "
            "--model",
            grpc.StatusCode.DEADLINE_EXCEEDED: f"no answer within {self.timeout:g} s; "
            "raise --timeout",
        }.get(code, "the server refused the request")


def _check_batch(inputs: Mapping[str, np.ndarray]) -> None:
    sizes = {alias: len(values) for alias, values in inputs.items()}
    if not set(sizes.values()) <= {1, max(sizes.values())}:
        raise errors.HimirecError(f"expected one entry for each user, received {sizes}")


def _string_id(value: answers.Id) -> bytes:
    return str(value).encode()


def _int_id(value: answers.Id) -> int:
    try:
        return int(np.int64(int(value)))
    except (ValueError, OverflowError):
        raise errors.HimirecError(
            f"item id {value!r}: the model's item ids are int64; send whole numbers"
        ) from None


def _lists(proto: Any) -> list[Any]:
    values = tf.make_ndarray(proto)
    if values.dtype == object:
        values = np.vectorize(bytes.decode, otypes=[object])(values)
    return values.tolist()
