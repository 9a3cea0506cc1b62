"""The ablation without sub-libraries: every interest searches everything."""

import tensorflow as tf

from tfrs_himirec.models import circle_search


class WholeLibraryIndex(circle_search.ExactCircleIndex):
    """`ExactCircleIndex` that searches the whole library for each interest.

    An item that several interests of a user find is left to the one that gives it the
    largest probability.
    """

    def __call__(
        self,
        queries,
        nodes,
        excluded,
        results: int,
        seen: circle_search.Seen | None = None,
    ) -> circle_search.Candidates:
        """Searches with every query; arguments as in `ExactCircleIndex`."""
        batch, beams = tf.unstack(tf.shape(nodes))
        items = tf.shape(self.vectors)[0]
        flat = tf.reshape(queries, [batch * beams, queries.shape[-1]])
        scores = tf.matmul(flat, self.vectors, transpose_b=True)
        if seen is not None:
            places = tf.repeat(seen.places, beams, axis=0)
            scores = circle_search.add(scores, places, seen.repeat)
        normalizer = tf.reduce_logsumexp(scores, axis=1)
        denied = tf.repeat(excluded, beams, axis=0)
        scores = circle_search.add(scores, denied, float("-inf"))
        scores = tf.reshape(scores, [batch, beams, items])
        normalizer = tf.reshape(normalizer, [batch, beams])
        share = tf.where(nodes[..., None] >= 0, scores - normalizer[..., None], -1e30)
        owner = tf.argmax(share, axis=1, output_type=nodes.dtype)
        own = owner[:, None] == tf.range(beams)[None, :, None]
        scores = tf.where(own & (nodes >= 0)[..., None], scores, float("-inf"))
        best, index = tf.math.top_k(scores, results)
        return circle_search.Candidates(
            tf.where(best > float("-inf"), index, -1), best, normalizer
        )
