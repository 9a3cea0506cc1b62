"""`catalog/`: the items in tree order, with their embedding.

`items.parquet` and `embedding.npy` `[items, dim]` hold the same items in the same
order: depth first by leaf path. The column `row` is the item's place in the stable
vocabulary; models and sequences use rows, so that a new tree renumbers nothing.
"""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_himirec import errors, files
from tfrs_himirec.schema import VERSION, raw

_VERSION_KEY = b"himirec_schema_version"


@dataclasses.dataclass(frozen=True)
class Catalog:
    """Items in tree order.

    Attributes:
      item_ids: int64 or object `[items]`.
      rows: int64 `[items]`, vocabulary row of the item at each place.
      titles: object `[items]`, str.
      tags: list of lists of str, `[items]`.
      counts: int64 `[items]`, events of training users.
      embedding: float32 `[items, dim]`.
    """

    item_ids: np.ndarray
    rows: np.ndarray
    titles: np.ndarray
    tags: list[list[str]]
    counts: np.ndarray
    embedding: np.ndarray

    @property
    def size(self) -> int:
        return len(self.rows)

    @property
    def id_type(self) -> str:
        return "string" if self.item_ids.dtype == object else "int64"

    @property
    def places(self) -> np.ndarray:
        """int64 `[items]`: place in tree order of each vocabulary row."""
        inverse = np.empty_like(self.rows)
        inverse[self.rows] = np.arange(self.size)
        return inverse


def table(catalog: Catalog, paths: list[str]) -> pa.Table:
    """Returns the Arrow table of `items.parquet`; `paths` are leaf paths."""
    schema = pa.schema(
        [
            ("item_id", raw.ID_TYPES[catalog.id_type]),
            ("row", pa.int64()),
            ("title", pa.string()),
            ("tags", pa.list_(pa.string())),
            ("count", pa.int64()),
            ("path", pa.string()),
        ],
        metadata={_VERSION_KEY: str(VERSION).encode()},
    )
    columns = [
        catalog.item_ids,
        catalog.rows,
        catalog.titles,
        catalog.tags,
        catalog.counts,
        paths,
    ]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def save(directory: files.Path, catalog: Catalog, paths: list[str]) -> None:
    """Writes `items.parquet` and `embedding.npy`, whole or not at all."""
    with files.atomic_directory(directory) as temporary:
        pq.write_table(table(catalog, paths), temporary / "items.parquet")
        np.save(temporary / "embedding.npy", catalog.embedding.astype(np.float32))


def load(run_dir: files.Path) -> Catalog:
    """Reads `catalog/` of a run directory.

    Raises:
      HimirecError: it is missing or of another schema version.
    """
    folder = pathlib.Path(run_dir) / "catalog"
    try:
        items = pq.read_table(folder / "items.parquet")
        embedding = np.load(folder / "embedding.npy")
    except FileNotFoundError as error:
        raise errors.HimirecError(
            f"{error.filename}: no such file; run `himirec prepare` first"
        ) from None
    found = (items.schema.metadata or {}).get(_VERSION_KEY, b"none").decode()
    if found != str(VERSION):
        raise errors.HimirecError(
            f"{folder}: schema version {found}, this release reads {VERSION}; "
            "prepare again"
        )
    return Catalog(
        item_ids=np.asarray(items["item_id"].to_pandas().to_numpy(dtype=None))
        if raw.id_type(items.schema, "item_id", folder) == "int64"
        else np.array(items["item_id"].to_pylist(), dtype=object),
        rows=items["row"].to_numpy(),
        titles=np.array(items["title"].to_pylist(), dtype=object),
        tags=items["tags"].to_pylist(),
        counts=items["count"].to_numpy(),
        embedding=embedding,
    )
