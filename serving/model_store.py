"""Finds versions under a model base, loads them and hands them out by name."""

import dataclasses
import importlib
import pathlib
from collections.abc import Iterable, Mapping

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import model_pb2, prediction_log_pb2

from serving import servable
from tfrs_himirec import errors, files

_WARMUP = pathlib.Path("assets.extra", "tf_serving_warmup_requests")
_MAX_WARMUP_RECORDS = 1000  # TF Serving fails the load above it.


@dataclasses.dataclass(frozen=True)
class ModelStore:
    """Loaded versions: model name, then version number."""

    models: Mapping[str, Mapping[int, servable.Servable]]

    def versions(self, spec: model_pb2.ModelSpec) -> list[servable.Servable]:
        """Returns the versions that a request means, newest first; maybe none.

        Raises:
          StatusError: the request asks for a label, and no version has one.
        """
        if spec.HasField("version_label"):
            raise servable.invalid(
                f"Unrecognized servable version label: {spec.version_label}"
            )
        loaded = self.models.get(spec.name, {})
        if spec.HasField("version"):
            number = spec.version.value
            return [loaded[number]] if number in loaded else []
        return [loaded[number] for number in sorted(loaded, reverse=True)]

    def get(self, spec: model_pb2.ModelSpec) -> servable.Servable:
        """Returns the version that a request means.

        Raises:
          StatusError: NOT_FOUND, the model or the version is not loaded.
        """
        found = self.versions(spec)
        if found:
            return found[0]
        wanted = (
            f"Specific({spec.name}, {spec.version.value})"
            if spec.HasField("version")
            else f"Latest({spec.name})"
        )
        raise servable.StatusError(
            grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}"
        )


def load_newest(model_base: files.Path) -> ModelStore:
    """Loads the newest version of every model under `model_base`.

    Raises:
      HimirecError: there is none, or one does not load or fails its warm-up.
    """
    models = {}
    for name, versions in find_models(model_base).items():
        newest = max(versions)
        models[name] = {newest: load(name, newest, versions[newest])}
    return ModelStore(models)


def find_models(model_base: files.Path) -> dict[str, dict[int, pathlib.Path]]:
    """Returns the version directories of each model name.

    `model_base` holds either versions (the folder's name is the model's) or folders
    that hold versions.

    Raises:
      HimirecError: it does not exist, or has no versions.
    """
    base = pathlib.Path(model_base).resolve()
    if not base.is_dir():
        raise errors.HimirecError(
            f"{model_base}: no such model base; run `himirec export` first or correct "
            "--model-base"
        )
    candidates = [base] if _versions(base) else sorted(base.iterdir())
    models = {path.name: _versions(path) for path in candidates}
    models = {name: versions for name, versions in models.items() if versions}
    if not models:
        raise errors.HimirecError(
            f"{model_base}: no model version (a directory with an integer name) in it "
            "or one level below; run `himirec export` first or correct --model-base"
        )
    return models


def _versions(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    if not folder.is_dir():
        return {}
    return {
        int(path.name): path
        for path in folder.iterdir()
        if path.name.isdecimal() and path.is_dir()
    }


def load(name: str, version: int, directory: pathlib.Path) -> servable.Servable:
    """Loads a SavedModel and replays its warm-up records.

    Raises:
      HimirecError: it is not a SavedModel, needs ops that are not here, or a
        warm-up record fails.
    """
    _register_ops(directory)
    try:
        root = tf.saved_model.load(str(directory))
        signature_defs = _signature_defs(directory)
    except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        raise errors.HimirecError(
            f"{directory}: the SavedModel does not load: {_one_line(error)}; run "
            "`himirec export` again"
        ) from error
    loaded = servable.Servable(name, version, signature_defs, root.signatures, root)
    _warm_up(loaded, directory)
    return loaded


def _register_ops(directory: pathlib.Path) -> None:
    """Imports the ScaNN ops when the export says that the graph uses them."""
    for path in (directory / "himirec.json", directory / "assets.extra/himirec.json"):
        if not path.exists():
            continue
        if files.read_json(path, "run `himirec export` again").get("index") == "scann":
            _import_scann(path)


def _import_scann(path: pathlib.Path) -> None:
    try:
        importlib.import_module("scann.scann_ops.py.scann_ops")
    except ImportError as error:
        raise errors.HimirecError(
            f"{path}: the model needs the ScaNN ops ({error}); pip install scann[tf], "
            "or export with --index exact"
        ) from error


def _signature_defs(
    directory: pathlib.Path,
) -> Mapping[str, meta_graph_pb2.SignatureDef]:
    content = (directory / "saved_model.pb").read_bytes()
    for graph in saved_model_pb2.SavedModel.FromString(content).meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return graph.signature_def
    raise ValueError("no graph is tagged 'serve'")


def _warm_up(loaded: servable.Servable, directory: pathlib.Path) -> None:
    path = directory / _WARMUP
    if not path.exists():
        return
    records = tf.data.TFRecordDataset([str(path)]).as_numpy_iterator()
    try:
        _replay(loaded, records)
    except Exception as error:
        raise errors.HimirecError(
            f"{path}: warm-up failed: {_one_line(error)}; run `himirec export` again"
        ) from error


def _replay(loaded: servable.Servable, records: Iterable[bytes]) -> None:
    for number, record in enumerate(records):
        if number >= _MAX_WARMUP_RECORDS:
            raise ValueError(f"more than {_MAX_WARMUP_RECORDS} records")
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if not log.HasField("predict_log"):
            raise ValueError(f"record {number}: not a predict_log")
        loaded.predict(log.predict_log.request)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
