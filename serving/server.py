"""A gRPC server for exported models."""

import dataclasses
import logging
import os
import signal
from concurrent import futures
from typing import NoReturn

import grpc
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving import model_store, predict
from tfrs_himirec import errors, files

_LOGGER = logging.getLogger(__name__)
_OPTIONS = (
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.max_send_message_length", -1),
    # Otherwise a second server takes the same port and half of the requests.
    ("grpc.so_reuseport", 0),
)


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that is answering requests.

    Attributes:
      grpc_server: the server below.
      port: the port it listens on.
    """

    grpc_server: grpc.Server
    port: int

    def wait(self) -> None:
        """Blocks until the server has stopped."""
        self.grpc_server.wait_for_termination()

    def stop(self, grace: float = 10.0) -> None:
        """Refuses new requests and waits at most `grace` seconds for running ones."""
        self.grpc_server.stop(grace).wait()


def start(
    model_base: files.Path,
    host: str = "127.0.0.1",
    port: int = 8500,
    workers: int | None = None,
) -> Server:
    """Loads the newest version of each model and starts to answer requests.

    Args:
      model_base: folder of versions, or folder of such folders.
      host: address to listen on.
      port: 0 takes a free one.
      workers: requests in work at one time; four per CPU when None.

    Raises:
      HimirecError: a model does not load, the address cannot be used, or a number
        is out of range.
    """
    _check(port, workers)
    store = model_store.load_newest(model_base)
    pool = futures.ThreadPoolExecutor(workers or 4 * (os.cpu_count() or 1))
    grpc_server = grpc.server(pool, options=_OPTIONS)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        predict.PredictionService(store), grpc_server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        predict.ModelService(store), grpc_server
    )
    bound = _bind(grpc_server, host, port)
    grpc_server.start()
    for name, versions in store.models.items():
        for version in versions:
            _LOGGER.info("serving %s version %d on %s:%d", name, version, host, bound)
    return Server(grpc_server, bound)


def run(
    model_base: files.Path, host: str, port: int, workers: int | None = None
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes the running requests.

    Raises:
      HimirecError: see `start`.
    """
    for number in (signal.SIGTERM, signal.SIGINT):  # a background job ignores SIGINT
        signal.signal(number, _interrupt)
    running = start(model_base, host, port, workers)
    try:
        running.wait()
    except KeyboardInterrupt:
        _LOGGER.info("stopping: no new requests, finishing the running ones")
    running.stop()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _check(port: int, workers: int | None) -> None:
    if not 0 <= port <= 65535:  # gRPC would take it modulo 65536.
        raise errors.HimirecError(f"--port: expected 0 to 65535, received {port}")
    if workers is not None and workers < 1:
        raise errors.HimirecError(f"--workers: expected at least 1, received {workers}")


def _bind(grpc_server: grpc.Server, host: str, port: int) -> int:
    try:
        return grpc_server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise errors.HimirecError(
            f"{host}:{port}: cannot listen there; another server may have the port, "
            "choose another --port or --host"
        ) from None
