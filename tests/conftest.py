"""Selects legacy Keras before any test imports TensorFlow."""

import tfrs_himirec  # noqa: F401
