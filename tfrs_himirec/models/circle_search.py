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


class Seen(NamedTuple):
    """What users have consumed before, and how that moves its score.

    `places`: int32 `[batch, n]`, distinct, -1 = none. `repeat`: float32 scalar.
    """

    places: tf.Tensor
    repeat: tf.Tensor


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

    def __call__(
        self, queries, nodes, excluded, results: int, seen: Seen | None = None
    ) -> Candidates:
        """Searches each circle with its own query.

        An item that lies in several circles of a user is found only in the deepest:
        an interest and its ancestor may not both spend quota on it.

        Args:
          queries: float32 `[batch, beams, dim]`.
          nodes: int32 `[batch, beams]`; -1 finds nothing.
          excluded: int32 `[batch, n]`, places never returned; -1 = none.
          results: candidates per circle.
          seen: added to the scores before anything is ranked.

        Returns:
          `Candidates`.
        """
        if seen is None:
            seen = Seen(tf.fill([tf.shape(nodes)[0], 1], -1), tf.constant(0.0))
        batch, beams = tf.shape(nodes)[0], nodes.shape[1]
        queries = tf.reshape(queries, [batch * beams, queries.shape[-1]])
        circles, member = tf.unique(tf.reshape(nodes, [-1]))
        owner = tf.repeat(tf.range(batch), beams)
        nested = tf.reshape(self._nested(nodes), [batch * beams, beams, 2])

        def search(i, found):
            users = tf.where(member == i)[:, 0]
            owners = tf.gather(owner, users)
            answer = self.search_circle(
                tf.gather(queries, users),
                circles[i],
                tf.gather(excluded, owners),
                results,
                tf.gather(nested, users),
                seen._replace(places=tf.gather(seen.places, owners)),
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

    def range_of(self, node):
        """Returns first and past-the-last place of circles; an empty range for -1."""
        start = tf.gather(self.start, tf.maximum(node, 0))
        end = tf.gather(self.end, tf.maximum(node, 0))
        return tf.where(node >= 0, start, 0), tf.where(node >= 0, end, 0)

    def _nested(self, nodes):
        """int32 `[batch, beams, beams, 2]`: ranges of the circles inside each circle.

        Circles that are not inside have an empty range.
        """
        start, end = self.range_of(nodes)
        inside = (start[:, None] >= start[..., None]) & (end[:, None] <= end[..., None])
        inside = inside & ((end - start)[:, None] < (end - start)[..., None])
        ranges = tf.stack([start, end], axis=-1)[:, None]
        return tf.where(inside[..., None], ranges, 0)

    def search_circle(
        self, queries, node, excluded, results: int, nested=None, seen=None
    ):
        """Searches one circle for several users.

        Args:
          queries: float32 `[users, dim]`.
          node: int32 scalar; -1 finds nothing.
          excluded: int32 `[users, n]`, places never returned; -1 = none.
          results: candidates per user.
          nested: int32 `[users, m, 2]`, ranges of places not returned here.
          seen: `Seen` of these users.

        Returns:
          Places int32 and scores float32 `[users, results]`, log normaliser `[users]`.
        """
        start, end = self.range_of(node)
        scores = tf.matmul(queries, self.vectors[start:end], transpose_b=True)
        if seen is not None:
            scores = add(scores, seen.places - start, seen.repeat)
        normalizer = tf.reduce_logsumexp(scores, axis=1)
        scores = add(scores, excluded - start, float("-inf"))
        if nested is not None:
            scores = _exclude_ranges(scores, nested - start)
        best, index = tf.math.top_k(scores, tf.minimum(results, end - start))
        missing = [[0, 0], [0, results - tf.shape(best)[1]]]
        best = tf.pad(best, missing, constant_values=float("-inf"))
        places = tf.pad(index + start, missing, constant_values=-1)
        return tf.where(best > float("-inf"), places, -1), best, normalizer


def add(scores: tf.Tensor, columns: tf.Tensor, value) -> tf.Tensor:
    """Adds a value to `scores[row, columns[row]]` where the column exists."""
    hit = tf.where((columns >= 0) & (columns < tf.shape(scores)[1]))
    column = tf.gather_nd(columns, hit)
    index = tf.stack([tf.cast(hit[:, 0], tf.int32), column], axis=1)
    return tf.tensor_scatter_nd_add(scores, index, tf.fill([tf.shape(index)[0]], value))


def _exclude_ranges(scores: tf.Tensor, ranges: tf.Tensor) -> tf.Tensor:
    """Sets the columns of each row's ranges `[rows, m, 2]` to -inf."""

    def masked():
        inside = contains(ranges, tf.range(tf.shape(scores)[1])[None])
        return tf.where(inside, float("-inf"), scores)

    return tf.cond(
        tf.reduce_any(ranges[..., 1] > ranges[..., 0]), masked, lambda: scores
    )


def contains(ranges: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """bool `[rows, places]`: whether a place lies in one of the row's ranges."""
    inside = tf.zeros([], tf.bool)
    for start, end in (tf.unstack(r, axis=-1) for r in tf.unstack(ranges, axis=1)):
        inside = inside | (places >= start[:, None]) & (places < end[:, None])
    return inside
