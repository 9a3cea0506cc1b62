"""The training loop shared by both models: Keras `fit` with the same callbacks."""

import json
import logging
import pathlib
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_himirec import files
from tfrs_himirec.schema import sequences
from tfrs_himirec.training import artefacts, windows

MONITOR = "validation_recall"
_LOG = logging.getLogger(__name__)


class Progress:
    """What is done at the end of every epoch: measure, log, keep the best weights.

    The record in `metrics.jsonl` is also the memory of a resumed training: the best
    epoch so far is read from it.

    Args:
      model: being trained.
      validate: returns recall on validation users, which picks the best epoch.
      directory: of this training.
      patience: epochs without improvement before training stops.
    """

    def __init__(self, model, validate, directory, patience: int):
        self._model = model
        self._validate = validate
        self._patience = patience
        self._log = pathlib.Path(directory) / "metrics.jsonl"
        self.best = pathlib.Path(directory) / "best.weights.h5"
        spent = [record["seconds"] for record in self._records()]
        self._started = time.monotonic() - max(spent, default=0.0)

    def __call__(self, epoch: int, logs: dict) -> None:
        """Called by Keras after each epoch, counted from 0."""
        logs[MONITOR] = self._validate()
        seconds = time.monotonic() - self._started
        record = {"epoch": epoch, "seconds": round(seconds, 1)}
        record |= {name: float(value) for name, value in logs.items()}
        earlier = [r for r in self._records() if r["epoch"] < epoch]
        scores = [r[MONITOR] for r in earlier]
        if not scores or record[MONITOR] > max(scores):
            artefacts.save_weights(self._model, self.best)
        self._write([*earlier, record])
        shown = "  ".join(f"{k} {v:.4f}" for k, v in record.items() if k != "epoch")
        _LOG.info("epoch %d  %s", epoch + 1, shown)
        scores.append(record[MONITOR])
        self._model.stop_training = self._is_over(scores)

    def is_over(self) -> bool:
        """Whether an interrupted training had already stopped early."""
        return self._is_over([r[MONITOR] for r in self._records()])

    def _is_over(self, scores: list[float]) -> bool:
        return (
            bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= self._patience
        )

    def _records(self) -> list[dict]:
        return records(self._log)

    def _write(self, records: list[dict]) -> None:
        with files.atomic_file(self._log) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in records))


def records(log: pathlib.Path) -> list[dict]:
    """Returns the records of a `metrics.jsonl`, one per epoch; none without a file."""
    if not log.is_file():
        return []
    return [json.loads(line) for line in log.read_text().splitlines()]


class Backup:
    """Weights and optimizer state after the last whole epoch, written atomically.

    Keras's own backup is written in place: a kill while it writes leaves a file that
    cannot be read.

    Args:
      model: compiled.
      path: of the backup.
    """

    def __init__(self, model, path: pathlib.Path):
        self._model = model
        self._path = path

    def _variables(self) -> list:
        optimizer = self._model.optimizer
        optimizer.build(self._model.trainable_variables)
        return [*self._model.variables, *optimizer.variables]

    def save(self, epoch: int, logs: dict | None = None) -> None:
        """Called by Keras after each epoch."""
        values: dict[str, Any] = {"epoch": np.array(epoch)}
        values |= {str(i): v.numpy() for i, v in enumerate(self._variables())}
        with files.atomic_file(self._path) as temporary, open(temporary, "wb") as out:
            np.savez(out, **values)

    def restore(self) -> int:
        """Returns the epoch to go on with: 0 without a backup."""
        if not self._path.is_file():
            return 0
        with np.load(self._path) as saved:
            for i, variable in enumerate(self._variables()):
                variable.assign(saved[str(i)])
            return int(saved["epoch"]) + 1

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def fit(
    keras_module,
    model,
    dataset: tf.data.Dataset,
    steps: int,
    epochs: int,
    progress: Progress,
    directory: pathlib.Path,
) -> None:
    """Trains, or goes on where a killed training of the same settings stopped.

    Args:
      keras_module: `keras` for Keras 3 models, `tf.keras` for legacy ones.
      model: compiled.
      dataset: endless batches.
      steps: batches in an epoch.
      epochs: to train in total.
      progress: see `Progress`.
      directory: for the backup and the TensorBoard logs.
    """
    callbacks = keras_module.callbacks
    backup = Backup(model, directory / "backup.npz")
    if not progress.is_over():
        model.fit(
            dataset,
            steps_per_epoch=steps,
            epochs=epochs,
            initial_epoch=backup.restore(),
            shuffle=False,  # the dataset shuffles itself
            verbose=1 if sys.stderr.isatty() else 0,
            callbacks=[
                callbacks.LambdaCallback(on_epoch_end=progress),
                callbacks.TensorBoard(str(directory / "tensorboard")),
                callbacks.LambdaCallback(on_epoch_end=backup.save),
            ],
        )
    model.load_weights(progress.best)
    backup.remove()


def steps_per_epoch(
    run_dir: files.Path, lengths: windows.Lengths, batch_size: int
) -> int:
    """Returns about how many batches of windows the training users give."""
    count = 0.0
    for batch in sequences.read(run_dir, "train", 4096):
        events = tf.minimum(batch["history"].row_lengths(), windows.MAX_EVENTS).numpy()
        after_first = events - 1 - (lengths.short_term + 1) / 2
        usable = events >= 2
        count += (usable * (1 + np.maximum(after_first, 0) / lengths.short_term)).sum()
    return max(1, round(count / batch_size))
