"""The import stage: any source becomes `raw/`."""

import logging
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_himirec import config, errors, files
from tfrs_himirec.raw import batches, items, log, movielens, synth, tables
from tfrs_himirec.schema import raw

_log = logging.getLogger(__name__)


def run(data: config.Data, out_dir: files.Path, progress: bool = True) -> dict:
    """Writes `interactions.parquet` and `items.parquet`, whole or not at all.

    With `data.on_bad_rows == "reject"`, malformed interactions go to
    `rejected/interactions.jsonl`. Items that only the log names are no error.

    Returns:
      Counts and id types, ready for JSON.

    Raises:
      HimirecError: the input is missing or malformed.
    """
    with files.atomic_directory(out_dir) as folder:
        if data.source == "synth":
            raw.write(folder, *synth.generate(data.synth))
            rejected = 0
        else:
            rejected = _import(_open(data), folder, data, progress)
        summary = _summary(folder, data.source, rejected)
    if rejected:
        _log.warning(
            "%d malformed rows set aside in %s",
            rejected,
            pathlib.Path(out_dir) / log.REJECTED,
        )
    return {"out": str(out_dir), **summary}


def refuse_existing(out_dir: files.Path, force: bool) -> None:
    """Raises HimirecError where `run` would replace something it should not."""
    path = pathlib.Path(out_dir)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / raw.INTERACTIONS).is_file():
        raise errors.HimirecError(
            f"{path}: exists and is no imported data; name another directory"
        )
    if not force:
        raise errors.HimirecError(
            f"{path}: exists; pass --force to replace it, or name another directory"
        )


def _open(data: config.Data) -> batches.Source:
    if data.raw is None:
        raise errors.HimirecError(
            f"data.raw is not set; name the {data.source} data with --raw (data.raw)"
        )
    path = pathlib.Path(data.raw)
    if data.source == "movielens":
        return movielens.open_source(path)
    return tables.open_source(path, data)


def _import(
    source: batches.Source, folder: pathlib.Path, data: config.Data, progress: bool
) -> int:
    """Writes both tables; returns the number of rejected rows."""
    written = log.write(source, folder, data.on_bad_rows == "reject", progress)
    table = source.items
    integer_items = written.integer_items and (
        table is None or pa.types.is_integer(table.schema.field("item_id").type)
    )
    item_type = "int64" if integer_items else "string"
    log.retype(folder, "int64" if written.integer_users else "string", item_type)
    if table is None:
        table = items.of_log(log.distinct(folder, "item_id"))
    table = table.cast(raw.items_schema(item_type))
    pq.write_table(table, folder / raw.ITEMS, row_group_size=250_000)
    return written.rejected


def _summary(folder: pathlib.Path, source: str, rejected: int) -> dict:
    interactions = pq.ParquetFile(folder / raw.INTERACTIONS)
    schema = interactions.schema_arrow
    return {
        "source": source,
        "users": len(log.distinct(folder, "user_id")),
        "items": pq.read_metadata(folder / raw.ITEMS).num_rows,
        "interactions": interactions.metadata.num_rows,
        "rejected": rejected,
        "user_id_type": str(schema.field("user_id").type),
        "item_id_type": str(schema.field("item_id").type),
    }
