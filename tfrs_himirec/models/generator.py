"""Stage 1: the generator of circle paths (paper, section 2.2)."""

import numpy as np
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.models import (
    beam_search,
    decoder,
    encoder,
    item_losses,
    single_vector,
    window_model,
)
from tfrs_himirec.training import windows
from tfrs_himirec.tree import circle_tree


class PathTargets:
    """Turns items that a user consumes next into decisions along their paths."""

    def __init__(
        self, constants: windows.TreeConstants, k: int, stop: str, spread: float
    ):
        self._tree = constants
        self._k = k
        self._adaptive = stop == "adaptive"
        self._spread = spread

    def __call__(self, future: tf.Tensor, chosen: tf.Tensor):
        """Returns the visited circles and the right choices.

        Args:
          future: int32 `[..., next_items]`, rows; -1 = none.
          chosen: int32 `[..., paths]`, places in `future` to make paths of.

        Returns:
          `nodes` and `choices`, int32 `[..., paths, depth]`: the circle that each
          step decides in and the decision, a number r or k for stop; -1 after it.
        """
        leaf = tf.gather(self._tree.leaf_of_row, tf.maximum(future, 0))
        line = tf.gather(self._tree.ancestors, leaf)
        line = tf.where(future[..., None] >= 0, line, -1)
        path = tf.gather(line, chosen, batch_dims=chosen.shape.rank - 1)
        nodes, below = path[..., :-1], path[..., 1:]
        number = tf.gather(self._tree.number, tf.maximum(below, 0))
        choices = tf.where(below >= 0, number, -1)
        if self._adaptive:
            stop = tf.gather(
                self._stops(line), chosen, batch_dims=chosen.shape.rank - 1
            )
            stopped = tf.cumsum(tf.cast(stop, tf.int32), axis=-1)
            choices = tf.where(stop & (stopped == 1), self._k, choices)
            choices = tf.where((stopped - tf.cast(stop, tf.int32)) > 0, -1, choices)
        return nodes, choices

    def _stops(self, line: tf.Tensor) -> tf.Tensor:
        """bool `[..., next_items, depth]`: the future is spread below this circle.

        A circle is a light interest when at least two of the next items are in it and
        no child holds more than `spread` of them.
        """
        same = (line[..., :, None, :] == line[..., None, :, :]) & (
            line[..., :, None, :] >= 0
        )
        count = tf.reduce_sum(tf.cast(same, tf.float32), axis=-2)
        inside = tf.cast(same[..., :-1], tf.float32)
        largest = tf.reduce_max(inside * count[..., None, :, 1:], axis=-2)
        inner = (line[..., :-1] != circle_tree.ROOT) & (line[..., 1:] >= 0)
        total = count[..., :-1]
        return inner & (total >= 2) & (largest <= self._spread * total)


class Generator(window_model.WindowModel):
    """Path decoder on the states of a trained encoder.

    Args:
      settings: sizes and training options.
      history_encoder: trained already; it is not trained any further.
      long_term: places of a window before its first slot.
      tree: the circle tree.
      rows: int64 `[items]`, vocabulary row at each place in tree order.
    """

    def __init__(
        self,
        settings: config.Generator,
        history_encoder: encoder.HistoryEncoder,
        long_term: int,
        tree: circle_tree.CircleTree,
        rows: np.ndarray,
    ):
        super().__init__("generator")
        self.settings = settings
        self.depth = tree.depth
        self._long_term = long_term
        self._rows = tf.constant(rows, tf.int32)
        small = tree.items <= settings.distill_items
        self._distill = settings.distill if small else 0.0
        self.constants = windows.TreeConstants(tree, rows)
        self.tables = beam_search.tables(tree, settings.stop == "adaptive")
        self.encoder = history_encoder
        self.encoder.trainable = False
        self.decoder = decoder.PathDecoder(
            tree.k,
            tree.depth,
            tree.nodes,
            history_encoder.dim,
            settings.layers,
            settings.heads,
            settings.dropout,
        )
        self.decoder.build()
        self.built = True
        self.targets = PathTargets(
            self.constants, tree.k, settings.stop, settings.spread
        )

    def start_from_circle_means(self, tree: circle_tree.CircleTree, rows: np.ndarray):
        """Makes the untrained decoder follow the encoder's item vectors.

        A circle then gets the logit `log size + state . mean item vector`, an
        estimate of what the single-vector model gives to its items in total.
        """
        vectors = self.encoder.item_embedding.embeddings.numpy()[rows]
        total = np.cumsum(np.pad(vectors, [[1, 0], [0, 0]]), axis=0, dtype=np.float64)
        size = tree.end - tree.start
        mean = (total[tree.end] - total[tree.start]) / size[:, None]
        exists = tree.children >= 0
        child = np.maximum(tree.children, 0)
        circle, prior = (np.zeros(w.shape) for w in self.decoder.output_weights)
        circle[:, :-1] = np.where(exists[..., None], mean[child], 0)
        prior[:, :-1] = np.where(exists, np.log(size[child]), 0)
        for weight, value in zip(
            self.decoder.output_weights, (circle, prior), strict=True
        ):
            weight.assign(value)

    def call(self, rows, training=False):
        """Returns the states of histories, see `encoder.HistoryEncoder`."""
        return self.encoder(rows, training=training)

    def path_log_probabilities(
        self, numbers, nodes, memory, cuts, rows, training=False
    ):
        """Returns the decoder's float32 `[batch, paths, steps, k + 1]`."""
        allowed = tf.gather(self.tables.allowed, tf.maximum(nodes, 0))
        visible = tf.pad(rows >= 0, [[0, 0], [1, 0]], constant_values=True)
        return self.decoder(
            numbers, nodes, allowed, memory, cuts, visible, training=training
        )

    def interests(
        self, rows: tf.Tensor, states: tf.Tensor, beams: int, circles: str = "complete"
    ) -> beam_search.Interests:
        """Generates circles by constrained beam search.

        Args:
          rows: int32 `[batch, time]`, the encoder's input.
          states: float32 `[batch, time + 1, dim]`, the encoder's output.
          beams: circles to generate.
          circles: which are generated, see `beam_search`.

        Returns:
          `beam_search.Interests`.
        """
        batch = tf.shape(rows)[0]
        cuts = tf.repeat(single_vector.last_state(rows)[:, None], beams, axis=1)

        def step(numbers, visited):
            logs = self.path_log_probabilities(numbers, visited, states, cuts, rows)
            return logs[:, :, -1]

        return beam_search.beam_search(
            step, self.tables, self.depth, batch, beams, circles
        )

    def batch_loss(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Cross-entropy of the decisions along sampled paths, per path.

        Against the paths themselves it is minus their log-likelihood (paper, Eq. 2);
        with `distill` the target of a decision is mixed with the shares that the
        encoder's user vector gives to the children.

        `batch` is a batch of windows, see `windows.training_windows`.
        """
        # The encoder's dropout stays on: it has learned these users by heart, and its
        # states must be worth as little here as those of users it has never seen.
        memory = self.encoder(batch["rows"], training=training)
        future = tf.gather(batch["future"], batch["cuts"], batch_dims=1)
        chosen = self._sample(future)
        nodes, choices = self.targets(future, chosen)
        count = self.settings.cuts * self.settings.paths
        nodes = tf.reshape(nodes, [-1, count, self.depth])
        choices = tf.reshape(choices, [-1, count, self.depth])
        cuts = batch["cuts"] + self._long_term + 1
        logs = self.path_log_probabilities(
            choices[..., :-1],
            nodes,
            memory,
            tf.repeat(cuts, self.settings.paths, axis=1),
            batch["rows"],
            training,
        )
        target = tf.one_hot(choices, logs.shape[-1])
        if self._distill:
            shares = self._shares(batch, memory, nodes)
            goes_on = (choices >= 0) & (choices < logs.shape[-1] - 1)
            mixed = (1 - self._distill) * target + self._distill * shares
            target = tf.where(goes_on[..., None], mixed, target)
        return -tf.reduce_mean(tf.reduce_sum(target * logs, axis=[2, 3]))

    def _shares(self, batch, memory, nodes):
        """float32 `[batch, paths, steps, k + 1]`: each child's share of its circle.

        The shares are sums of the softmax over the library of the single vector.
        """
        mass = tf.repeat(self._masses(batch, memory), self.settings.paths, axis=1)
        child = tf.gather(self.tables.children, tf.maximum(nodes, 0))[..., :-1]
        flat = tf.reshape(
            tf.maximum(child, 0), [tf.shape(nodes)[0], nodes.shape[1], -1]
        )
        found = tf.gather(mass, flat, batch_dims=2)
        found = tf.where(child >= 0, tf.reshape(found, tf.shape(child)), 0.0)
        total = tf.reduce_sum(found, axis=-1, keepdims=True)
        shares = tf.math.divide_no_nan(found, total)
        return tf.stop_gradient(tf.pad(shares, [[0, 0], [0, 0], [0, 0], [0, 1]]))

    def _masses(self, batch, memory):
        """float32 `[batch, cuts, nodes]`: probability of each circle at each cut."""
        rows, cuts = batch["rows"], batch["cuts"]
        states = tf.gather(memory, cuts + self._long_term + 1, batch_dims=1)
        states = tf.reshape(states, [-1, states.shape[-1]])
        user = tf.repeat(tf.range(tf.shape(cuts)[0]), cuts.shape[1])
        cut = tf.cast(tf.stack([user, tf.reshape(cuts, [-1])], axis=1), tf.int64)
        items = tf.convert_to_tensor(self.encoder.item_embedding.embeddings)
        seen = item_losses.is_seen(rows, self._long_term, cut, None, items.shape[0])
        logits = tf.matmul(states, items, transpose_b=True)
        logits = logits + self.encoder.repeat * tf.cast(seen, tf.float32)
        share = tf.gather(tf.nn.softmax(logits), self._rows, axis=1)
        until = tf.pad(tf.cumsum(share, axis=1), [[0, 0], [1, 0]])
        first, last = self.constants.start, self.constants.end
        mass = tf.gather(until, last, axis=1) - tf.gather(until, first, axis=1)
        return tf.reshape(tf.maximum(mass, 0.0), [-1, cuts.shape[1], mass.shape[1]])

    def _sample(self, future):
        """int32 `[batch, cuts, paths]`: places of the next items, nearer ones more."""
        next_items = tf.shape(future)[-1]
        order = tf.range(next_items, dtype=tf.float32)
        logits = order * tf.math.log(self.settings.distance_decay)
        logits = tf.where(future >= 0, logits, -1e9)
        flat = tf.reshape(logits, [-1, next_items])
        drawn = tf.random.categorical(flat, self.settings.paths, dtype=tf.int32)
        return tf.reshape(drawn, [-1, self.settings.cuts, self.settings.paths])
