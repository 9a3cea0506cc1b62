"""One version of a model that answers Predict requests as TF Serving does."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

DEFAULT_SIGNATURE = "serving_default"

# A TensorProto may repeat its last value to fill its shape, so that a few bytes can
# ask for terabytes.
_MAX_ELEMENTS = 32 << 20

# Clients in other languages read these fields and not `tensor_content`.
_VALUE_FIELDS = {
    tf.bool: "bool_val",
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.string: "string_val",
}


class StatusError(Exception):
    """A request that ends with a gRPC status other than OK or INTERNAL."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


@dataclasses.dataclass(frozen=True)
class Servable:
    """A loaded version.

    Attributes:
      name: the model's name.
      version: the number of its directory.
      signature_defs: signatures as the SavedModel describes them.
      functions: the callables of the signatures that can be run.
      root: the loaded object; it keeps the variables alive that functions use.
    """

    name: str
    version: int
    signature_defs: Mapping[str, meta_graph_pb2.SignatureDef]
    functions: Mapping[str, Callable[..., dict[str, tf.Tensor]]]
    root: Any

    def predict(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        """Runs the signature that the request names; its model name is not read.

        Raises:
          StatusError: the signature does not exist, an input or an output filter
            does not fit it, or the graph refused a value.
        """
        key = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if key not in self.functions:
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{key}" not found.',
            )
        signature = self.signature_defs[key]
        inputs = _inputs(signature, request.inputs)
        aliases = _output_aliases(signature, request.output_filter)
        try:
            outputs = self.functions[key](**inputs)
        except tf.errors.InvalidArgumentError as error:
            raise invalid(error.message) from error
        return self._response(key, {alias: outputs[alias] for alias in aliases})

    def _response(
        self, key: str, outputs: Mapping[str, tf.Tensor]
    ) -> predict_pb2.PredictResponse:
        response = predict_pb2.PredictResponse()
        response.model_spec.name = self.name
        response.model_spec.version.value = self.version
        response.model_spec.signature_name = key
        for alias, tensor in outputs.items():
            response.outputs[alias].CopyFrom(_encode(tensor))
        return response


def _inputs(
    signature: meta_graph_pb2.SignatureDef,
    given: Mapping[str, tensor_pb2.TensorProto],
) -> dict[str, tf.Tensor]:
    """Returns a tensor for every input; missing ones come from the defaults."""
    missing = signature.inputs.keys() - given.keys() - signature.defaults.keys()
    extra = given.keys() - signature.inputs.keys()
    if missing or extra:
        raise invalid(
            f"input size does not match signature: {len(given)}!="
            f"{len(signature.inputs)} len({_braces(given)}) != "
            f"len({_braces(signature.inputs)}). Sent extra: {_braces(extra)}. "
            f"Missing but required: {_braces(missing)}."
        )
    return {
        alias: _decode(
            alias, info, given[alias] if alias in given else signature.defaults[alias]
        )
        for alias, info in signature.inputs.items()
    }


def _output_aliases(
    signature: meta_graph_pb2.SignatureDef, wanted: Iterable[str]
) -> list[str]:
    seen: list[str] = []
    for alias in wanted:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs "
                f"expected to be in the set {_braces(signature.outputs)}."
            )
        if alias in seen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        seen.append(alias)
    return seen or list(signature.outputs)


def _decode(
    alias: str, info: meta_graph_pb2.TensorInfo, proto: tensor_pb2.TensorProto
) -> tf.Tensor:
    """Returns the tensor of an input that has the signature's dtype and shape."""
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if math.prod(sizes) > _MAX_ELEMENTS:
        raise invalid(
            f"tensor parsing error: {alias}: shape {sizes} has more than "
            f"{_MAX_ELEMENTS} elements; send smaller batches"
        )
    shape = tf.TensorShape(info.tensor_shape)
    expected = f"{_type_name(info.dtype)} of shape {shape}"
    if proto.dtype != info.dtype:
        raise invalid(
            f"input {alias}: expected {expected}, received {_type_name(proto.dtype)}"
        )
    try:
        tensor = tf.io.parse_tensor(proto.SerializeToString(), info.dtype)
    except tf.errors.InvalidArgumentError:
        raise invalid(f"tensor parsing error: {alias}: expected {expected}") from None
    if not shape.is_compatible_with(tensor.shape):
        raise invalid(
            f"input {alias}: expected {expected}, received shape {tensor.shape}"
        )
    return tensor


def _encode(tensor: tf.Tensor) -> tensor_pb2.TensorProto:
    values = tensor.numpy()
    field = _VALUE_FIELDS.get(tensor.dtype)
    if field is None:
        return tf.make_tensor_proto(values, tensor.dtype)
    proto = tensor_pb2.TensorProto(
        dtype=tensor.dtype.as_datatype_enum, tensor_shape=tensor.shape.as_proto()
    )
    getattr(proto, field).extend(np.ravel(values).tolist())
    return proto


def _type_name(number: int) -> str:
    value = types_pb2.DataType.DESCRIPTOR.values_by_number.get(number)
    return value.name if value else f"unknown type {number}"


def _braces(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
