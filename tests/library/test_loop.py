"""The training loop: the best weights stay, an interrupted training goes on."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec.training import loop

MODULES = pytest.mark.parametrize("module", [keras, tf.keras], ids=["keras3", "legacy"])


def make(module):
    module.utils.set_random_seed(0)
    model = module.Sequential([module.layers.Dense(1, use_bias=False)])
    model.build((None, 2))
    model.compile(optimizer=module.optimizers.Adam(0.1), loss="mse")
    return model


def dataset():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 2)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, x @ [[1.0], [2.0]])).batch(8).repeat()


def progress_of(model, directory, scores, patience=100):
    given = iter(scores)
    return loop.Progress(model, lambda: next(given), directory, patience)


def epochs_of(directory) -> list[int]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["epoch"] for line in lines]


@MODULES
def test_best_epoch_is_loaded_at_the_end(module, tmp_path):
    model, seen = make(module), []

    def validate():
        seen.append(np.array(model.get_weights()[0]))
        return [0.1, 0.5, 0.3][len(seen) - 1]

    progress = loop.Progress(model, validate, tmp_path, 100)
    loop.fit(module, model, dataset(), 4, 3, progress, tmp_path)
    np.testing.assert_array_equal(model.get_weights()[0], seen[1])
    assert not (tmp_path / "backup.npz").exists()


@MODULES
def test_training_stops_without_improvement(module, tmp_path):
    model = make(module)
    progress = progress_of(model, tmp_path, [0.3, 0.2, 0.1, 0.0, 0.9], patience=2)
    loop.fit(module, model, dataset(), 2, 5, progress, tmp_path)
    assert epochs_of(tmp_path) == [0, 1, 2]
    again = progress_of(make(module), tmp_path, [], patience=2)
    assert again.is_over()


@MODULES
def test_interrupted_training_ends_as_an_uninterrupted_one(module, tmp_path):
    """Weights and optimizer state survive: both trainings end with equal weights."""
    whole = make(module)
    scores = [0.1, 0.2, 0.3, 0.4]
    directory = tmp_path / "whole"
    directory.mkdir()
    progress = progress_of(whole, directory, scores)
    loop.fit(module, whole, dataset(), 8, 4, progress, directory)
    parts = tmp_path / "parts"
    parts.mkdir()
    broken = make(module)
    progress = progress_of(broken, parts, scores[:2])
    with pytest.raises((StopIteration, RuntimeError)):
        loop.fit(module, broken, dataset(), 8, 4, progress, parts)
    resumed = make(module)
    loop.fit(
        module, resumed, dataset(), 8, 4, progress_of(resumed, parts, scores[2:]), parts
    )
    assert epochs_of(parts) == [0, 1, 2, 3]
    np.testing.assert_allclose(
        resumed.get_weights()[0], whole.get_weights()[0], rtol=1e-5
    )
