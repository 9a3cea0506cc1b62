"""Search inside circles: a slice of the item table, one matmul, top-k."""

from typing import NamedTuple

import tensorflow as tf


class Candidates(NamedTuple):
    """What was found in each circle, best first.

    `places`: int32 `[batch, beams, results]`, places in tree order, -1 = none.
    `scores`: float32 `[batch, beams, results]`, -inf where there is none.
    `log_normalizer`: float32 `[batch, beams]`, log of the sum of exp(score) over the
    whole circle, excluded items included; -inf for no circle.
    """

    places: tf.Tensor
    scores: tf.Tensor
    log_normalizer: tf.Tensor


class ExactCircleIndex(tf.Module):
    """Exact top-k inside circles, with stock TensorFlow operations only.

    The users of a batch that search the same circle share one matmul.

    Args:
      vectors: float32 `[items, dim]` in tree order.
      start: int32 `[nodes]`, first place of each circle.
      end: int32 `[nodes]`, one past its last place.
    """

    def __init__(self, vectors, start, end):
        super().__init__()
        self.vectors = tf.Variable(vectors, trainable=False, name="item_vectors")
        self.start = tf.constant(start, tf.int32)
        self.end = tf.constant(end, tf.int32)

    def is_exact(self) -> bool:
        return True

    def __call__(self, queries, nodes, excluded, results: int) -> Candidates:
        """Searches each circle with its own query.

        Args:
          queries: float32 `[batch, beams, dim]`.
          nodes: int32 `[batch, beams]`; -1 finds nothing.
          excluded: int32 `[batch, n]`, places never returned; -1 = none.
          results: candidates per circle.

        Returns:
          `Candidates`.
        """
        batch, beams = tf.shape(nodes)[0], nodes.shape[1]
        queries = tf.reshape(queries, [batch * beams, queries.shape[-1]])
        circles, member = tf.unique(tf.reshape(nodes, [-1]))
        owner = tf.repeat(tf.range(batch), beams)

        def search(i, found):
            users = tf.where(member == i)[:, 0]
            denied = tf.gather(excluded, tf.gather(owner, users))
            answer = self.search_circle(
                tf.gather(queries, users), circles[i], denied, results
            )
            columns = zip(found, (users, *answer), strict=True)
            return i + 1, [array.write(i, value) for array, value in columns]

        count = tf.shape(circles)[0]
        shapes = ([None], [None, results], [None, results], [None])
        kinds = (tf.int64, tf.int32, tf.float32, tf.float32)
        arrays = [
            tf.TensorArray(kind, count, infer_shape=False, element_shape=shape)
            for kind, shape in zip(kinds, shapes, strict=True)
        ]
        _, found = tf.while_loop(lambda i, _: i < count, search, [0, arrays])
        users, *columns = [array.concat() for array in found]
        order = tf.argsort(users)
        places, scores, normalizer = (tf.gather(c, order) for c in columns)
        shape = [batch, beams, results]
        return Candidates(
            tf.reshape(places, shape),
            tf.reshape(scores, shape),
            tf.reshape(normalizer, shape[:2]),
        )

    def search_circle(self, queries, node, excluded, results: int):
        """Searches one circle for several users: `[users, dim]`, scalar, `[users, n]`.

        Returns:
          Places int32 and scores float32 `[users, results]`, log normaliser `[users]`.
        """
        exists = node >= 0
        start = tf.where(exists, self.start[tf.maximum(node, 0)], 0)
        end = tf.where(exists, self.end[tf.maximum(node, 0)], 0)
        scores = tf.matmul(queries, self.vectors[start:end], transpose_b=True)
        normalizer = tf.reduce_logsumexp(scores, axis=1)
        scores = _exclude(scores, excluded - start)
        best, index = tf.math.top_k(scores, tf.minimum(results, end - start))
        missing = [[0, 0], [0, results - tf.shape(best)[1]]]
        best = tf.pad(best, missing, constant_values=float("-inf"))
        places = tf.pad(index + start, missing, constant_values=-1)
        return tf.where(best > float("-inf"), places, -1), best, normalizer


def _exclude(scores: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Sets `scores[row, columns[row]]` to -inf where the column exists."""
    hit = tf.where((columns >= 0) & (columns < tf.shape(scores)[1]))
    column = tf.gather_nd(columns, hit)
    index = tf.stack([tf.cast(hit[:, 0], tf.int32), column], axis=1)
    denied = tf.fill([tf.shape(index)[0]], float("-inf"))
    return tf.tensor_scatter_nd_update(scores, index, denied)
