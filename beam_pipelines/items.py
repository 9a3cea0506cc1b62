"""From the kept items to the catalogue: documents, vectors, tree, tree order."""

import logging
import pathlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from beam_pipelines import inputs
from tfrs_himirec import config, errors
from tfrs_himirec.embeddings import behavior, text, vectors
from tfrs_himirec.schema import catalog
from tfrs_himirec.tree import circle_tree, kmeans

_LOG = logging.getLogger(__name__)


def read(log: inputs.Inputs, item_ids: np.ndarray) -> pd.DataFrame:
    """Returns `title`, `text` and `tags` of the items, without nulls, by id."""
    columns = ["item_id", "title", "text", "tags"]
    table = pq.read_table(log.items, columns=columns).to_pandas()
    found = table.set_index("item_id").loc[item_ids]
    tags = [[] if own is None else list(own) for own in found["tags"]]
    return found.fillna({"title": "", "text": ""}).assign(tags=tags)


def embed(found: pd.DataFrame, pairs, options: config.Embedding) -> np.ndarray:
    """Returns item vectors in the order of `found`.

    Args:
      found: `[items]`, from `read`.
      pairs: sparse co-occurrence `[items, items]`.
      options: the kind of vectors.

    Returns:
      float32 `[items, dim]`; the width of the file with kind `vectors`.

    Raises:
      HimirecError: vectors or preset are missing or cannot be read.
    """
    if options.kind == "vectors":
        if options.vectors is None:
            raise errors.HimirecError(
                "prepare.embedding.kind is vectors: name the Parquet file in "
                "prepare.embedding.vectors"
            )
        return vectors.load(options.vectors, found.index.to_numpy())
    half = options.dim // 2 if options.kind == "both" else 0
    parts = []
    if options.kind in ("text", "both"):
        words = found["title"] + " " + found["text"] + " "
        documents = [a + " ".join(b) for a, b in zip(words, found["tags"], strict=True)]
        parts.append(_embed_text(documents, options.preset, options.dim - half))
    if options.kind in ("behavior", "both"):
        parts.append(behavior.embed(pairs, half or options.dim))
    return np.concatenate(parts, axis=1)


def _embed_text(documents: list[str], preset: str | None, dim: int) -> np.ndarray:
    if preset is None:
        return text.embed(documents, dim)
    from tfrs_himirec.embeddings import preset as encoder  # imports keras-nlp

    return encoder.embed(documents, preset, dim)


def save(
    found: pd.DataFrame,
    counts: np.ndarray,
    embedding: np.ndarray,
    settings: config.Tree,
    work: pathlib.Path,
) -> circle_tree.CircleTree:
    """Clusters the items; writes `catalog/`, `tree/` and circles to `items.parquet`."""
    tree, order = kmeans.build_tree(embedding, settings)
    _LOG.info("tree: %d leaf circles, depth %d", len(tree.leaves), tree.depth)
    paths = [tree.paths[leaf] for leaf in tree.leaf_of_place]
    ids = found.index.to_numpy()
    listed = catalog.Catalog(
        item_ids=ids[order],
        rows=order.astype(np.int64),
        titles=found["title"].to_numpy(object)[order],
        tags=[found["tags"].iloc[row] for row in order],
        counts=counts[order],
        embedding=embedding[order],
    )
    catalog.save(work / "catalog", listed, paths)
    tree.save(work / "tree")
    circles = pd.Series(paths, index=order).sort_index().to_numpy()
    kept = pd.DataFrame({"item_id": ids, "circle": circles})
    kept.to_parquet(work / "items.parquet")
    return tree
