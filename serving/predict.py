"""TF Serving's PredictionService and ModelService over a model store.

Status codes and messages are TF Serving's, so that clients cannot tell them apart.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import model_store, servable

_LOGGER = logging.getLogger(__name__)
_SIGNATURES = "signature_def"
_MAX_MESSAGE = 1000  # gRPC sends messages as HTTP headers, which are limited to 8 KB.


def _answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turns what a handler raises into the status of the call."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except servable.StatusError as error:
            code, message = error.code, error.message
        except Exception as error:
            _LOGGER.exception("%s failed", method.__name__)
            code, message = grpc.StatusCode.INTERNAL, f"{error}"
        return context.abort(code, message[:_MAX_MESSAGE])

    return answer


def _require_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise servable.invalid("Missing ModelSpec")


def _unimplemented(name: str) -> servable.StatusError:
    return servable.StatusError(
        grpc.StatusCode.UNIMPLEMENTED, f"{name} is not supported; use Predict"
    )


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the tf.Example APIs are refused."""

    def __init__(self, store: model_store.ModelStore):
        self._store = store

    @_answers
    def Predict(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        _require_model_spec(request)
        return self._store.get(request.model_spec).predict(request)

    @_answers
    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_model_spec(request)
        _check_metadata_fields(request.metadata_field)
        found = self._store.get(request.model_spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(
            signature_def=found.signature_defs
        )
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = found.name
        response.model_spec.version.value = found.version
        response.metadata[_SIGNATURES].Pack(signatures)
        return response

    @_answers
    def Classify(self, request: Any) -> Any:
        raise _unimplemented("Classify")

    @_answers
    def Regress(self, request: Any) -> Any:
        raise _unimplemented("Regress")

    @_answers
    def MultiInference(self, request: Any) -> Any:
        raise _unimplemented("MultiInference")


def _check_metadata_fields(fields: list[str]) -> None:
    if not fields:
        raise servable.invalid(
            "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in fields:
        if field != _SIGNATURES:
            raise servable.invalid(f"Metadata field {field} is not supported")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; the models of a running server cannot be changed."""

    def __init__(self, store: model_store.ModelStore):
        self._store = store

    @_answers
    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_model_spec(request)
        found = self._store.versions(request.model_spec)
        if not found:
            raise _no_status(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for loaded in found:
            response.model_version_status.add(
                version=loaded.version,
                state=get_model_status_pb2.ModelVersionStatus.AVAILABLE,
                status={},
            )
        return response

    @_answers
    def HandleReloadConfigRequest(self, request: Any) -> Any:
        raise servable.StatusError(
            grpc.StatusCode.UNIMPLEMENTED,
            "HandleReloadConfigRequest is not supported; restart the server",
        )


def _no_status(spec: Any) -> servable.StatusError:
    what = f"version {spec.version.value}" if spec.HasField("version") else ""
    return servable.StatusError(
        grpc.StatusCode.NOT_FOUND,
        f"Could not find {what or 'any versions'} of model {spec.name}",
    )
