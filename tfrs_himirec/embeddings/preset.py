"""Item vectors from text by a keras-nlp encoder preset."""

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
    try:
        backbone = keras_nlp.models.Backbone.from_preset(preset)
        tokenizer = keras_nlp.models.Tokenizer.from_preset(preset)
    except Exception as error:  # the hub clients raise errors of many kinds
        reason = " ".join(str(error).split())[:200]
        raise errors.HimirecError(
            f"prepare.embedding.preset: {preset!r} cannot be loaded ({reason}); name a "
            "local preset directory or leave it out for TF-IDF"
        ) from None
    packer = keras_nlp.layers.StartEndPacker(
        length,
        start_value=tokenizer.cls_token_id,
        end_value=tokenizer.sep_token_id,
        pad_value=tokenizer.pad_token_id,
    )
    parts = []
    for start in tqdm.trange(0, len(documents), _BATCH, desc="encode", disable=None):
        tokens = packer(tokenizer(documents[start : start + _BATCH]))
        parts.append(_pool(backbone, tokens, tokenizer.pad_token_id))
    return text.reduce(np.concatenate(parts), dim)


def _pool(backbone, tokens, pad: int) -> np.ndarray:
    """float32 `[batch, width]`: mean of the states of real tokens."""
    tokens = np.asarray(tokens)
    mask = tokens != pad
    inputs = {
        "token_ids": tokens,
        "padding_mask": mask,
        "segment_ids": np.zeros_like(tokens),
    }
    names = {tensor.name for tensor in backbone.inputs}
    found = backbone({k: v for k, v in inputs.items() if k in names})
    states = np.asarray(found["sequence_output"] if isinstance(found, dict) else found)
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
