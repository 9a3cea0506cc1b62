import serving  # noqa: F401 (before TensorFlow)

# isort: split
import grpc
import pytest
import tensorflow as tf
import toy_model
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving import server


@pytest.fixture(scope="session")
def model_base(tmp_path_factory):
    """`himirec` in the versions 2 and 10 (steps 2 and 10), `words` with string ids."""
    base = tmp_path_factory.mktemp("models")
    toy_model.save(base / "himirec" / "2", step=2)
    toy_model.save(base / "himirec" / "10", step=10)
    toy_model.save(base / "words" / "1", tf.string)
    (base / "himirec" / ".11.partial").mkdir()
    return base


@pytest.fixture(scope="session")
def running(model_base):
    started = server.start(model_base, port=0, workers=4)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def target(running):
    return f"localhost:{running.port}"


@pytest.fixture(scope="session")
def channel(target):
    with grpc.insecure_channel(target) as opened:
        yield opened


@pytest.fixture
def predictions(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)
