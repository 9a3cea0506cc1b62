"""Training of the generator and of the towers from a prepared run directory."""

import pathlib
import shutil

import keras
import tensorflow as tf

from tfrs_himirec import config, files
from tfrs_himirec.evaluation import validation
from tfrs_himirec.training import artefacts, loop, windows


def train_generator(
    run: config.Run, run_dir: files.Path, restart: bool = False
) -> None:
    """Trains stage 1 and writes `checkpoints/generator.weights.h5`.

    The best epoch is picked by recall of the shared user vector on validation users.

    Raises:
      HimirecError: the run directory is not prepared.

    With `restart`, an interrupted training of the same settings is not resumed.
    """
    prepared = artefacts.Prepared(run_dir)
    settings = run.generator
    keras.utils.set_random_seed(settings.seed)
    model = artefacts.make_generator(run, prepared)
    lengths = windows.Lengths.of(run, settings.cuts)
    steps = loop.steps_per_epoch(run_dir, lengths, settings.batch_size)
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(
                settings.learning_rate, steps * settings.epochs, alpha=0.1
            )
        )
    )
    directory = _directory(restart, run_dir, "generator", run.generator)
    validate = validation.Validation(run, prepared)
    progress = loop.Progress(
        model,
        lambda: validate.of_generator(model),
        "validation_recall",
        directory,
        settings.patience,
    )
    dataset = windows.training_windows(
        run_dir, lengths, settings.batch_size, settings.seed
    )
    loop.fit(
        keras, model, dataset.repeat(), steps, settings.epochs, progress, directory
    )
    artefacts.save_weights(model, artefacts.weights_path(run_dir, "generator"))


def train_towers(run: config.Run, run_dir: files.Path, restart: bool = False) -> None:
    """Trains stage 2 and writes `checkpoints/towers.weights.h5`.

    The best epoch is picked by recall of the whole recommender on validation users.

    Raises:
      HimirecError: the generator is not trained.
    """
    prepared = artefacts.Prepared(run_dir)
    settings = run.towers
    keras.utils.set_random_seed(settings.seed)
    stage1 = artefacts.load_generator(run, prepared)
    model = artefacts.make_towers(run, prepared, stage1)
    lengths = windows.Lengths.of(run, settings.cuts, settings.split_history)
    steps = loop.steps_per_epoch(run_dir, lengths, settings.batch_size)
    model.compile(
        optimizer=tf.keras.optimizers.Adam(
            tf.keras.optimizers.schedules.CosineDecay(
                settings.learning_rate, steps * settings.epochs, alpha=0.1
            )
        )
    )
    directory = _directory(restart, run_dir, "towers", run.generator, settings)
    validate = validation.Validation(run, prepared)
    progress = loop.Progress(
        model,
        lambda: validate.of_recommender(stage1, model),
        "validation_recall",
        directory,
        settings.patience,
    )
    dataset = windows.training_windows(
        run_dir, lengths, settings.batch_size, settings.seed, stage1.constants
    )
    loop.fit(
        tf.keras, model, dataset.repeat(), steps, settings.epochs, progress, directory
    )
    artefacts.save_weights(model, artefacts.weights_path(run_dir, "towers"))


def _directory(
    restart: bool, run_dir: files.Path, name: str, *settings
) -> pathlib.Path:
    """Training directory of these settings, so that no other training is resumed."""
    tree = pathlib.Path(run_dir) / "manifest.json"
    inputs = [s.model_dump() for s in settings] + [files.sha256(tree)]
    folder = pathlib.Path(run_dir) / "training" / name / files.fingerprint(inputs)
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
