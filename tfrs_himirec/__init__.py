"""tfrs_himirec: hierarchical multi-interest retrieval (HimiRec, arXiv 2402.01253).

Importing this package selects legacy Keras for `tf.keras`, which
tensorflow-recommenders needs, before TensorFlow is imported. `import keras`
stays Keras 3, which keras-nlp needs. Both live in one process.

Glossary of shape names used in every docstring of the project:

* `batch`: users (or requests) of one batch
* `time`: places of a padded history, oldest first
* `beams`: circles generated for a user
* `depth`: levels of the circle tree below the root
* `nodes`: circles of the tree, the root included
* `items`: rows of the item vocabulary, or places in tree order
* `results`: items returned to a user
"""

import os
import sys

__version__ = "0.1.0"


def _use_legacy_keras() -> None:
    if os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True"):
        return
    if "tensorflow" in sys.modules:
        raise ImportError(
            "tfrs_himirec needs legacy Keras for tf.keras, but TensorFlow was imported "
            "first: import tfrs_himirec before tensorflow, or set the environment "
            "variable TF_USE_LEGACY_KERAS=1"
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


_use_legacy_keras()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
