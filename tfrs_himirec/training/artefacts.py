"""Where models of a run live, and how they are made again from its files."""

import pathlib

from tfrs_himirec import config, errors, files
from tfrs_himirec.models import generator, single_vector, towers
from tfrs_himirec.schema import catalog, manifest
from tfrs_himirec.tree import circle_tree


class Prepared:
    """What prepare left in a run directory.

    Raises:
      HimirecError: something is missing, incomplete or of another version.
    """

    def __init__(self, run_dir: files.Path):
        self.run_dir = pathlib.Path(run_dir)
        self.manifest = manifest.load(run_dir)
        self.catalog = catalog.load(run_dir)
        self.tree = circle_tree.load(run_dir)
        if self.tree.fingerprint != self.manifest.tree:
            raise errors.HimirecError(
                f"{run_dir}: tree {self.tree.fingerprint} is not the manifest's "
                f"{self.manifest.tree}; prepare again with --force"
            )


def weights_path(run_dir: files.Path, model: str) -> pathlib.Path:
    """Returns the path of finished weights: "encoder", "generator" or "towers"."""
    return pathlib.Path(run_dir) / "checkpoints" / f"{model}.weights.h5"


def save_weights(model, path: pathlib.Path) -> None:
    """Writes a model's weights whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name.removesuffix('.weights.h5')}.weights.h5")
    model.save_weights(temporary)
    temporary.replace(path)


def load_weights(model, path: pathlib.Path, remedy: str) -> None:
    """Loads weights that `save_weights` wrote.

    Raises:
      HimirecError: they are missing, or were trained with other settings.
    """
    if not path.is_file():
        raise errors.HimirecError(f"{path}: no such file; {remedy}")
    try:
        model.load_weights(path)
    except (ValueError, OSError):
        raise errors.HimirecError(
            f"{path}: not the weights of this configuration; {remedy} --force"
        ) from None


def make_single_vector(
    run: config.Run, prepared: Prepared
) -> single_vector.SingleVector:
    return single_vector.SingleVector(run.encoder, prepared.catalog.size)


def make_generator(
    run: config.Run, prepared: Prepared, history_encoder
) -> generator.Generator:
    """Makes an untrained decoder on top of an encoder."""
    return generator.Generator(
        run.generator,
        history_encoder,
        run.encoder.long_term,
        prepared.tree,
        prepared.catalog.rows,
    )


def make_towers(
    run: config.Run, prepared: Prepared, stage1: generator.Generator
) -> towers.Towers:
    """Makes untrained towers on top of a generator's encoder."""
    return towers.Towers(
        run.towers,
        prepared.tree,
        prepared.catalog.rows,
        prepared.catalog.embedding,
        lambda rows, training: stage1.encoder(rows, training=training),
        run.encoder.long_term,
        stage1.encoder.item_embedding.embeddings.numpy(),
        float(stage1.encoder.repeat),
    )


def load_models(
    run: config.Run, prepared: Prepared
) -> tuple[generator.Generator, towers.Towers]:
    """Loads both trained models of a run directory.

    Raises:
      HimirecError: a model has not been trained, or with other settings.
    """
    stage1 = load_generator(run, prepared)
    stage2 = make_towers(run, prepared, stage1)
    path = weights_path(prepared.run_dir, "towers")
    load_weights(stage2, path, "run `himirec train towers`")
    return stage1, stage2


def load_generator(run: config.Run, prepared: Prepared) -> generator.Generator:
    """Loads the trained generator; raises HimirecError as `load_models` does."""
    untrained = single_vector.make_encoder(run.encoder, prepared.catalog.size)
    stage1 = make_generator(run, prepared, untrained)
    path = weights_path(prepared.run_dir, "generator")
    load_weights(stage1, path, "run `himirec train generator`")
    return stage1


def load_single_vector(
    run: config.Run, prepared: Prepared
) -> single_vector.SingleVector:
    """Loads the trained encoder; raises HimirecError as `load_models` does."""
    model = make_single_vector(run, prepared)
    path = weights_path(prepared.run_dir, "encoder")
    load_weights(model, path, "run `himirec train encoder`")
    return model
