"""Training of encoder, generator and towers from a prepared run directory."""

import pathlib
import shutil
from collections.abc import Callable

import keras
import tensorflow as tf

from tfrs_himirec import config, files
from tfrs_himirec.baselines import transformer
from tfrs_himirec.evaluation import validation
from tfrs_himirec.training import artefacts, loop, windows


def train_encoder(run: config.Run, run_dir: files.Path, restart: bool = False) -> None:
    """Trains the single-vector model and writes `checkpoints/encoder.weights.h5`.

    The best epoch is picked by recall of the user vector on validation users.

    Raises:
      HimirecError: the run directory is not prepared.

    With `restart`, an interrupted training of the same settings is not resumed.
    """
    prepared = artefacts.Prepared(run_dir)
    keras.utils.set_random_seed(run.encoder.seed)
    model = artefacts.make_single_vector(run, prepared)
    lengths = windows.Lengths.of(run, cuts=1)
    scores = transformer.Transformer(model, lengths)
    measure = validation.Validation(run, prepared)
    fit(
        model,
        run.encoder,
        lengths,
        run_dir,
        lambda: measure.of_scores(scores),
        directory(run_dir, "encoder", [run.encoder], restart),
    )
    artefacts.save_weights(model, artefacts.weights_path(run_dir, "encoder"))


def train_generator(
    run: config.Run, run_dir: files.Path, restart: bool = False
) -> None:
    """Trains stage 1 and writes `checkpoints/generator.weights.h5`.

    The best epoch is picked by recall on validation users when the items of the
    generated circles are ranked by the encoder's user vector.

    Raises:
      HimirecError: the encoder is not trained.
    """
    prepared = artefacts.Prepared(run_dir)
    keras.utils.set_random_seed(run.generator.seed)
    stage0 = artefacts.load_single_vector(run, prepared)
    model = artefacts.make_generator(run, prepared, stage0.encoder)
    model.start_from_circle_means(prepared.tree, prepared.catalog.rows)
    untrained = artefacts.make_towers(run, prepared, model)  # the shared vector's
    measure = validation.Validation(run, prepared)
    fit(
        model,
        run.generator,
        windows.Lengths.of(run, run.generator.cuts),
        run_dir,
        lambda: measure.of_recommender(model, untrained),
        directory(run_dir, "generator", [run.encoder, run.generator], restart),
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
    measure = validation.Validation(run, prepared)
    inputs = [run.encoder, run.generator, settings]
    fit(
        model,
        settings,
        windows.Lengths.of_towers(run),
        run_dir,
        lambda: measure.of_recommender(stage1, model),
        directory(run_dir, "towers", inputs, restart),
        stage1.constants,
    )
    artefacts.save_weights(model, artefacts.weights_path(run_dir, "towers"))


def fit(
    model,
    settings,
    lengths: windows.Lengths,
    run_dir: files.Path,
    validate: Callable[[], float],
    folder: pathlib.Path,
    tree: windows.TreeConstants | None = None,
) -> None:
    """Trains a Keras 3 or legacy Keras model on windows, with the best epoch's weights.

    Args:
      model: with a `train_step` for batches of `windows.training_windows`.
      settings: `epochs`, `patience`, `batch_size`, `learning_rate` and `seed`.
      lengths: of the windows.
      run_dir: prepared.
      validate: returns recall on validation users.
      folder: of this training, see `directory`.
      tree: when given, windows carry circles and split histories.
    """
    module = keras if isinstance(model, keras.Model) else tf.keras
    steps = loop.steps_per_epoch(run_dir, lengths, settings.batch_size)
    schedule = module.optimizers.schedules.CosineDecay(
        settings.learning_rate, steps * settings.epochs, alpha=0.1
    )
    model.compile(optimizer=module.optimizers.Adam(schedule))
    progress = loop.Progress(model, validate, folder, settings.patience)
    dataset = windows.training_windows(
        run_dir, lengths, settings.batch_size, settings.seed, tree
    )
    loop.fit(module, model, dataset.repeat(), steps, settings.epochs, progress, folder)


def directory(
    run_dir: files.Path, name: str, settings: list, restart: bool = False
) -> pathlib.Path:
    """Returns the directory of these settings: no other training is resumed in it."""
    manifest = pathlib.Path(run_dir) / "manifest.json"
    inputs = [s.model_dump() for s in settings] + [files.sha256(manifest)]
    folder = pathlib.Path(run_dir) / "training" / name / files.fingerprint(inputs)
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
