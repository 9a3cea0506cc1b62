"""Item vectors from text: TF-IDF and a truncated SVD."""

import numpy as np
import sklearn.decomposition
import sklearn.feature_extraction.text
import sklearn.preprocessing


def embed(documents: list[str], dim: int) -> np.ndarray:
    """Returns unit vectors float32 `[items, dim]`, zero for items without words."""
    try:
        vectorizer = sklearn.feature_extraction.text.TfidfVectorizer(sublinear_tf=True)
        weights = vectorizer.fit_transform(documents)
    except ValueError:  # no document has a word
        return np.zeros((len(documents), dim), np.float32)
    return reduce(weights, dim)


def reduce(matrix, dim: int) -> np.ndarray:
    """Returns unit rows float32 `[rows, dim]` of a truncated SVD, padded with zeros."""
    rank = min(dim, min(matrix.shape) - 1)
    result = np.zeros((matrix.shape[0], dim), np.float32)
    if rank >= 1:
        svd = sklearn.decomposition.TruncatedSVD(rank, random_state=0)
        result[:, :rank] = svd.fit_transform(matrix)
    return sklearn.preprocessing.normalize(result).astype(np.float32)
