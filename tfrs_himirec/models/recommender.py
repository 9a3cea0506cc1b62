"""Both stages as one function of a user's history; used by evaluation and export."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.models import (
    beam_search,
    circle_search,
    generator,
    merge,
    single_vector,
    towers,
)
from tfrs_himirec.schema import catalog as catalog_schema
from tfrs_himirec.training import windows
from tfrs_himirec.tree import circle_tree


class Recommendation(NamedTuple):
    """Answer for a batch of users.

    `places`: int32 `[batch, results]`, places in tree order; -1 only when nothing is
    left to recommend. `scores`: float32 `[batch, results]`; places filled from the
    popular list score below all others. `nodes`: int32 `[batch, beams]`, -1 = none.
    `probability`: float32 `[batch, beams]`. `interest`: int32 `[batch, results]`, -1
    for a place filled from the popular list outside all interests. `candidates`: int32
    `[batch, beams, results]`, what each circle offered to the merge, best first, -1 =
    none.
    """

    places: tf.Tensor
    scores: tf.Tensor
    nodes: tf.Tensor
    probability: tf.Tensor
    interest: tf.Tensor
    candidates: tf.Tensor


class Context(NamedTuple):
    """Encoded histories.

    `window`: int32 `[batch, places]`, the encoder's input. `states`: float32 `[batch,
    places + 1, dim]`. `shared`: float32 `[batch, dim]`, the last state, the user
    vector that both stages start from.
    """

    window: tf.Tensor
    states: tf.Tensor
    shared: tf.Tensor


class Recommender:
    """Mines interests, makes one user vector for each, searches, merges.

    Args:
      run: settings.
      tree: the circle tree.
      catalog: items in tree order.
      generator_model: trained stage 1.
      towers_model: trained stage 2.
      index: anything with `ExactCircleIndex`'s call; by default the exact index over
        the item tower's vectors.
    """

    def __init__(
        self,
        run: config.Run,
        tree: circle_tree.CircleTree,
        catalog: catalog_schema.Catalog,
        generator_model: generator.Generator,
        towers_model: towers.Towers,
        index=None,
    ):
        self.run = run
        self.tree = tree
        self.generator = generator_model
        self.towers = towers_model
        self.lengths = windows.Lengths.of(run, cuts=0)
        self.constants = generator_model.constants
        vectors = item_vectors(towers_model, catalog.size)
        self.index = index or circle_search.ExactCircleIndex(
            vectors, tree.start, tree.end
        )
        popular = np.argsort(-catalog.counts, kind="stable")
        self.popular = tf.constant(popular[: run.recommend.popular], tf.int32)
        self._repeat = tf.constant(float(towers_model.repeat))
        self._cold = _popular_circles(tree, catalog.counts)

    def encode(self, rows: tf.Tensor) -> Context:
        """Encodes histories int32 `[batch, time]`: known rows first, then -1."""
        window = windows.inference_window(rows, self.lengths)
        states = self.generator.encoder(window)
        last = single_vector.last_state(window)
        return Context(window, states, tf.gather(states, last, batch_dims=1))

    def mine(self, context: Context, beams: int) -> beam_search.Interests:
        """Generates `beams` interests per user.

        A user without history gets the most popular leaf circles.
        """
        found = self.generator.interests(
            context.window, context.states, beams, self.run.recommend.circles
        )
        cold = self.is_cold(context.window)[:, None]
        nodes, scores = (_fit(column, beams) for column in self._cold)
        return beam_search.Interests(
            tf.where(cold, nodes, found.nodes),
            tf.where(cold, scores, found.log_probability),
            tf.where(cold, tf.exp(scores), found.probability),
        )

    def is_cold(self, rows: tf.Tensor) -> tf.Tensor:
        """bool `[batch]`: no known item in the history."""
        return tf.reduce_all(rows < 0, axis=1)

    def split(self, rows: tf.Tensor, nodes: tf.Tensor) -> tf.Tensor:
        """Splits histories by circle (the paper's Key-Key-Value structure).

        Args:
          rows: int32 `[batch, time]`, oldest first, -1 = padding.
          nodes: int32 `[batch, beams]`.

        Returns:
          int32 `[batch, beams, split_history]`, newest first, -1 = padding.
        """
        size = self.run.towers.split_history
        place = tf.gather(self.constants.place_of_row, tf.maximum(rows, 0))[:, None]
        start, end = self.index.range_of(nodes)
        inside = (place >= start[..., None]) & (place < end[..., None])
        inside = inside | (self.run.towers.history == "unified")
        inside = inside & (rows >= 0)[:, None]
        index = tf.where(inside, tf.range(tf.shape(rows)[1]), -1)
        index = tf.pad(index, [[0, 0], [0, 0], [0, size]], constant_values=-1)
        newest = tf.math.top_k(index, size).values
        picked = tf.gather(
            tf.pad(rows, [[0, 0], [0, 1]]), tf.maximum(newest, 0), batch_dims=1
        )
        return tf.where(newest >= 0, picked, -1)

    def user_vectors(self, rows, shared, nodes, split) -> tf.Tensor:
        """Returns float32 `[batch, beams, width]`, one vector per generated circle.

        `rows`, int32 `[batch, time]`, are known vocabulary rows first, then -1.
        """
        batch, beams = tf.shape(nodes)[0], nodes.shape[1]
        repeated = tf.repeat(shared, beams, axis=0)
        flat = tf.reshape(tf.maximum(nodes, 0), [-1])
        places = tf.reshape(split, [batch * beams, split.shape[2]])
        count = tf.reduce_sum(tf.cast(rows >= 0, tf.int32), axis=1, keepdims=True)
        recent = tf.repeat(self.towers.newest(rows, count - 1)[:, 0], beams, axis=0)
        vectors = self.towers.users(repeated, flat, places, recent)
        return tf.reshape(vectors, [batch, beams, vectors.shape[-1]])

    def retrieve(self, rows, shared, nodes, split, excluded, results: int):
        """Searches each circle with its own user vector.

        Args:
          rows: int32 `[batch, time]`, what the users have consumed: known rows
            first, then -1.
          shared: float32 `[batch, dim]`.
          nodes: int32 `[batch, beams]`.
          split: int32 `[batch, beams, split_history]`.
          excluded: int32 `[batch, n]`, places; -1 = none.
          results: candidates per circle.

        Returns:
          `circle_search.Candidates`.
        """
        queries = self.user_vectors(rows, shared, nodes, split)
        own = tf.reshape(split, [tf.shape(split)[0], -1])
        past = self._distinct(tf.concat([rows, own], axis=1))
        seen = circle_search.Seen(past, self._repeat)
        return self.index(queries, nodes, excluded, results, seen)

    def _distinct(self, rows: tf.Tensor) -> tf.Tensor:
        """int32 `[batch, time]`: each row's place once, -1 for the others."""
        rows = tf.sort(rows, axis=1)
        again = tf.pad(rows[:, 1:] == rows[:, :-1], [[0, 0], [1, 0]])
        place = tf.gather(self.constants.place_of_row, tf.maximum(rows, 0))
        return tf.where(again | (rows < 0), -1, place)

    def recommend(
        self,
        rows: tf.Tensor,
        excluded: tf.Tensor,
        beams: int | None = None,
        results: int | None = None,
        merge_by: str | None = None,
    ) -> Recommendation:
        """Recommends items to a batch of users.

        Args:
          rows: int32 `[batch, time]`, known vocabulary rows first, then -1.
          excluded: int32 `[batch, n]`, places never returned; -1 = none.
          beams: interests per user; the setting by default.
          results: items per user; the setting by default.
          merge_by: "joint" or "quota"; the setting by default.
        """
        options = self.run.recommend
        results = results or options.results
        context = self.encode(rows)
        interests = self.mine(context, beams or options.beams)
        searched = tf.where(self.is_cold(rows)[:, None], -1, interests.nodes)
        split = self.split(rows, interests.nodes)
        found = self.retrieve(rows, context.shared, searched, split, excluded, results)
        if (merge_by or options.merge) == "quota":
            merged = merge.by_quota(
                found, interests.probability, results, options.alpha
            )
        else:
            merged = merge.by_probability(found, interests.log_probability, results)
        filled = self._fill(merged, interests.nodes, excluded)
        return Recommendation(
            filled.places,
            filled.scores,
            interests.nodes,
            interests.probability,
            filled.interest,
            found.places,
        )

    def _fill(self, merged: merge.Merged, nodes, excluded) -> merge.Merged:
        """Fills empty places from the popular list, when there are any."""
        missing = tf.reduce_any(merged.places < 0)
        return merge.Merged(
            *tf.cond(
                missing,
                lambda: self._with_popular(merged, nodes, excluded),
                lambda: tuple(merged),
            )
        )

    def _with_popular(self, merged, nodes, excluded):
        batch, results = tf.shape(merged.places)[0], merged.places.shape[1]
        taken = tf.concat([merged.places, excluded], axis=1)
        free = ~_contains(taken, self.tree.items, self.popular)
        count = tf.reduce_sum(tf.cast(merged.places >= 0, tf.int32), axis=1)
        order = tf.cumsum(tf.cast(free, tf.int32), axis=1, exclusive=True)
        slot = tf.where(free, count[:, None] + order, results)
        slot = tf.minimum(slot, results)
        user = tf.repeat(tf.range(batch)[:, None], tf.shape(slot)[1], axis=1)
        index = tf.stack([user, slot], axis=-1)
        popular = tf.repeat(self.popular[None], batch, axis=0)
        places = tf.pad(merged.places, [[0, 0], [0, 1]], constant_values=-1)
        places = tf.tensor_scatter_nd_update(places, index, popular)[:, :results]
        new = merged.places < 0
        lowest = tf.reduce_min(tf.where(new, 0.0, merged.scores), 1, keepdims=True)
        scores = tf.where(new, lowest - self._steps(results), merged.scores)
        interest = tf.where(new, self._interest_of(places, nodes), merged.interest)
        return places, scores, interest

    def _steps(self, results: int) -> tf.Tensor:
        """float32 `[results]`: popular places stand below all others, in order."""
        return tf.range(1, results + 1, dtype=tf.float32)

    def _interest_of(self, places, nodes):
        """int32 `[batch, results]`: the first interest that holds a place, or -1."""
        start, end = self.index.range_of(nodes)
        place = places[..., None]
        inside = (place >= start[:, None]) & (place < end[:, None])
        first = tf.argmax(inside, axis=-1, output_type=tf.int32)
        return tf.where(tf.reduce_any(inside, axis=-1), first, -1)


def item_vectors(model: towers.Towers, items: int, batch: int = 8192) -> np.ndarray:
    """Returns the item tower's vectors float32 `[items, dim]`, in tree order."""
    parts = [
        model.items_at(tf.range(start, min(start + batch, items)))
        for start in range(0, items, batch)
    ]
    return tf.concat(parts, axis=0).numpy()


def _contains(taken, items: int, places) -> tf.Tensor:
    """bool `[batch, n]`: whether `places` `[n]` are among `taken` `[batch, m]`."""
    batch = tf.shape(taken)[0]
    column = tf.where(taken < 0, items, taken)
    user = tf.repeat(tf.range(batch)[:, None], tf.shape(taken)[1], axis=1)
    table = tf.zeros([batch, items + 1], tf.bool)
    index = tf.stack([user, column], axis=-1)
    table = tf.tensor_scatter_nd_update(table, index, tf.ones_like(column, tf.bool))
    return tf.gather(table, places, axis=1)


def _popular_circles(tree: circle_tree.CircleTree, counts: np.ndarray):
    """Leaves by popularity: nodes int32 `[leaves]` and log-shares float32."""
    mass = np.add.reduceat(counts, tree.start[tree.leaves]) + 1.0
    order = np.argsort(-mass, kind="stable")
    share = np.log(mass[order] / mass.sum())
    return (
        tf.constant(tree.leaves[order], tf.int32),
        tf.constant(share, tf.float32),
    )


def _fit(column: tf.Tensor, beams: int) -> tf.Tensor:
    """Cuts or pads a `[leaves]` column to `[beams]`."""
    filler = -1 if column.dtype == tf.int32 else beam_search.IMPOSSIBLE
    missing = [[0, max(beams - column.shape[0], 0)]]
    return tf.pad(column[:beams], missing, constant_values=filler)
