"""Item vectors from text by a keras-nlp encoder preset."""

import keras
import keras_nlp
import numpy as np
import tqdm

from tfrs_himirec import errors
from tfrs_himirec.embeddings import text

_BATCH = 64


def embed(documents: list[str], preset: str, dim: int, length: int = 64) -> np.ndarray:
    """Mean-pools the encoder's last states over the words of each document.

    Args:
      documents: one text per item.
      preset: name or directory of a keras-nlp encoder preset with a tokenizer, such
        as "bert_tiny_en_uncased".
      dim: width of the result; the states are reduced by a truncated SVD.
      length: tokens of a document that are read.

    Returns:
      Unit vectors float32 `[items, dim]`.

    Raises:
      HimirecError: the preset cannot be loaded.
    """
    backbone, preprocessor = _load(preset, length)
    names = {tensor.name for tensor in backbone.inputs}
    parts = []
    for start in tqdm.trange(0, len(documents), _BATCH, desc="encode", disable=None):
        inputs = preprocessor(documents[start : start + _BATCH])
        found = backbone({k: v for k, v in inputs.items() if k in names})
        parts.append(_pool(found, inputs["padding_mask"]))
    return text.reduce(np.concatenate(parts), dim)


def _load(preset: str, length: int):
    try:
        backbone = keras_nlp.models.Backbone.from_preset(preset)
        preprocessor = keras_nlp.models.TextClassifierPreprocessor.from_preset(
            preset, sequence_length=length
        )
    except Exception as error:  # the hub clients raise errors of many kinds
        reason = " ".join(str(error).split())[:200]
        raise errors.HimirecError(
            f"prepare.embedding.preset: {preset!r} cannot be loaded ({reason}); name a "
            "local preset directory of a text encoder or leave it out for TF-IDF"
        ) from None
    return backbone, preprocessor


def _pool(found, padding_mask) -> np.ndarray:
    """float32 `[batch, width]`: mean of the states of real tokens."""
    found = found["sequence_output"] if isinstance(found, dict) else found
    mask = keras.ops.cast(padding_mask, "float32")[..., None]  # [batch, length, 1]
    states = keras.ops.cast(found, "float32") * mask
    total = keras.ops.sum(states, axis=1) / keras.ops.sum(mask, axis=1)
    return keras.ops.convert_to_numpy(total)
