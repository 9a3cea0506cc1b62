"""A model server that speaks TF Serving's gRPC API, and its client.

Nothing here imports Beam, Keras or training code: the SavedModel carries
everything the server needs.
"""

import tfrs_himirec  # noqa: F401 (chooses the Keras before TensorFlow is imported)
