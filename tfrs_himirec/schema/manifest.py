"""`manifest.json`: written last by prepare, so its presence means "complete"."""

import pathlib

import pydantic

from tfrs_himirec import errors, files
from tfrs_himirec.schema import VERSION

NAME = "manifest.json"


class Counts(pydantic.BaseModel):
    """Totals; `events_read = rejected + duplicates + filtered + interactions`.

    `too_short_users` have no event before their targets: they are in `users` and
    `interactions`, but in no split.
    """

    events_read: int
    rejected: int
    duplicates: int
    filtered: int
    users: int
    items: int
    interactions: int
    leaf_circles: int
    train_users: int
    validation_users: int
    test_users: int
    too_short_users: int


class Manifest(pydantic.BaseModel):
    """What prepare made, from what, and with which settings.

    `id_types` maps "user_id" and "item_id" to "int64" or "string"; `inputs` maps
    input file names to SHA-256 digests; `tree` is the fingerprint of the tree.
    """

    schema_version: int = VERSION
    counts: Counts
    id_types: dict[str, str]
    inputs: dict[str, str]
    settings: dict
    tree: str


def save(run_dir: files.Path, manifest: Manifest) -> None:
    files.write_json(pathlib.Path(run_dir) / NAME, manifest.model_dump())


def load(run_dir: files.Path) -> Manifest:
    """Reads the manifest of a prepared run directory.

    Raises:
      HimirecError: prepare has not finished, or the schema version is another one.
    """
    path = pathlib.Path(run_dir) / NAME
    value = files.read_json(path, "run `himirec prepare` first")
    found = value.get("schema_version") if isinstance(value, dict) else None
    if found != VERSION:
        raise errors.HimirecError(
            f"{path}: schema version {found}, this release reads {VERSION}; "
            "use another --run-dir or prepare again with --force"
        )
    try:
        return Manifest.model_validate(value)
    except pydantic.ValidationError as error:
        raise errors.HimirecError(
            f"{path}: {error.error_count()} invalid fields; prepare again with --force"
        ) from None
