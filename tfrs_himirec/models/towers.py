"""Stage 2: the two-tower model conditioned on the circle (paper, section 2.3)."""

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_himirec import config
from tfrs_himirec.models import circle_losses, item_losses, relations
from tfrs_himirec.training import windows
from tfrs_himirec.tree import circle_tree


@tf.keras.utils.register_keras_serializable("tfrs_himirec")
class UserTower(tf.keras.layers.Layer):
    """One user vector per circle: the shared vector plus a correction for the circle.

    The split history is summarised by attention whose query is made of the shared
    vector and the circle. The correction starts at zero, so an untrained tower ranks
    exactly as the shared single vector does.

    Args:
      nodes: circles of the tree, root included.
      dim: width of the vectors.
      places: length of a split history.
      dropout: share of activations dropped in training.
    """

    def __init__(self, nodes: int, dim: int, places: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.nodes = nodes
        self.dim = dim
        self.places = places
        self.dropout = dropout
        self.circle_embedding = tf.keras.layers.Embedding(nodes, dim)
        self.recency_embedding = tf.keras.layers.Embedding(places, dim)
        self.query = tf.keras.layers.Dense(dim)
        self.key = tf.keras.layers.Dense(dim)
        self.hidden = tf.keras.layers.Dense(2 * dim, activation="gelu")
        self.drop = tf.keras.layers.Dropout(dropout)
        self.correction = tf.keras.layers.Dense(dim, kernel_initializer="zeros")

    def call(self, shared, node, items, known, training=False):
        """Returns user vectors.

        Args:
          shared: float32 `[examples, dim]`, the encoder's state.
          node: int32 `[examples]`.
          items: float32 `[examples, places, dim]`, vectors of the split history,
            newest first.
          known: bool `[examples, places]`, false for padding.
          training: whether dropout is on.

        Returns:
          float32 `[examples, dim]`.
        """
        circle = self.circle_embedding(node)
        query = self.query(tf.concat([shared, circle], axis=-1))
        recency = self.recency_embedding(tf.range(tf.shape(items)[1]))
        logits = tf.einsum("ed,epd->ep", query, self.key(items + recency))
        logits = logits * self.dim**-0.5
        weights = tf.nn.softmax(tf.where(known, logits, circle_losses.MASKED))
        weights = weights * tf.cast(known, weights.dtype)
        pooled = tf.einsum("ep,epd->ed", weights, items)
        newest = items[:, 0] * tf.cast(known[:, :1], items.dtype)
        inputs = tf.concat([shared, circle, pooled, newest], axis=-1)
        hidden = self.drop(self.hidden(inputs), training=training)
        return shared + self.correction(hidden)

    def get_config(self):
        names = ("nodes", "dim", "places", "dropout")
        return super().get_config() | {name: getattr(self, name) for name in names}


@tf.keras.utils.register_keras_serializable("tfrs_himirec")
class ItemTower(tf.keras.layers.Layer):
    """Item vectors from id, content and circle path.

    The id part is the encoder's item embedding; the content and path parts start at
    zero.

    Args:
      items: size of the vocabulary.
      nodes: circles of the tree.
      dim: width of the vectors.
    """

    def __init__(self, items: int, nodes: int, dim: int, **kwargs):
        super().__init__(**kwargs)
        self.items = items
        self.nodes = nodes
        self.dim = dim
        self.item_embedding = tf.keras.layers.Embedding(items, dim)
        self.content = tf.keras.layers.Dense(
            dim, kernel_initializer="zeros", use_bias=False
        )
        self.path_embedding = tf.keras.layers.Embedding(
            nodes, dim, embeddings_initializer="zeros"
        )

    def call(self, rows, content, path):
        """Returns item vectors.

        Args:
          rows: int32 `[items]`.
          content: float32 `[items, content_dim]`, the catalogue's embedding.
          path: int32 `[items, depth]`, circles from the top to the leaf; -1 = none.

        Returns:
          float32 `[items, dim]`.
        """
        known = tf.cast(path >= 0, tf.float32)[..., None]
        levels = self.path_embedding(tf.maximum(path, 0)) * known
        identity = self.item_embedding(rows)
        return identity + self.content(content) + tf.reduce_sum(levels, axis=1)

    def get_config(self):
        names = ("items", "nodes", "dim")
        return super().get_config() | {name: getattr(self, name) for name in names}


class Towers(tfrs.Model):
    """Circle-conditioned two-tower model, trained against items of the same circle.

    Args:
      settings: loss and training options.
      tree: the circle tree.
      rows: int64 `[items]`, vocabulary row at each place in tree order.
      content: float32 `[items, content_dim]` in tree order.
      encode: the frozen encoder, see `encoder.HistoryEncoder`.
      long_term: places of a window before its first slot.
      item_vectors: float32 `[items, dim]` by row, the encoder's; not trained.
      repeat: the encoder's, to start from; see `encoder.HistoryEncoder.repeat`.
    """

    def __init__(
        self,
        settings: config.Towers,
        tree: circle_tree.CircleTree,
        rows: np.ndarray,
        content: np.ndarray,
        encode,
        long_term: int,
        item_vectors: np.ndarray,
        repeat: float = 0.0,
    ):
        super().__init__(name="towers")
        self.settings = settings
        self._encode = encode
        self._long_term = long_term
        self._constants = windows.TreeConstants(tree, rows)
        items, dim = item_vectors.shape
        self.user_tower = UserTower(
            tree.nodes, dim, settings.split_history, settings.dropout, name="user"
        )
        self.item_tower = ItemTower(items, tree.nodes, dim, name="item")
        self.rows = rows
        self.relations = (
            relations.Relations(
                items,
                settings.relations,
                settings.recent,
                settings.split_history,
                settings.dropout,
                name="relations",
            )
            if settings.relations
            else None
        )
        self._rows = tf.constant(rows, tf.int32)
        self._content = tf.constant(content)
        self._paths = tf.constant(tree.ancestors[tree.leaf_of_place][:, 1:], tf.int32)
        self.repeat = tf.Variable(repeat, name="repeat")
        self._build(dim)
        self.built = True
        self.item_tower.item_embedding.set_weights([item_vectors])
        # What the encoder has learned stays; both towers add to it.
        self.item_tower.item_embedding.trainable = False

    def _build(self, dim: int) -> None:
        self.items_at(tf.constant([0]))
        split = tf.fill([1, self.settings.split_history], -1)
        recent = tf.fill([1, self.settings.recent], -1)
        self.users(tf.zeros([1, dim]), tf.constant([0]), split, recent)

    def items_at(self, places: tf.Tensor) -> tf.Tensor:
        """Returns item vectors float32 `[n, width]` of places in tree order `[n]`.

        The width is that of the encoder and of the relations together.
        """
        rows = tf.gather(self._rows, places)
        vectors = self.item_tower(
            rows, tf.gather(self._content, places), tf.gather(self._paths, places)
        )
        if self.relations is None:
            return vectors
        return tf.concat([vectors, self.relations.targets(rows)], axis=1)

    def users(self, shared, node, split, recent, training=False) -> tf.Tensor:
        """Returns user vectors float32 `[examples, width]`.

        Args:
          shared: float32 `[examples, dim]`.
          node: int32 `[examples]`.
          split: int32 `[examples, places]`, rows, newest first, -1 = padding.
          recent: int32 `[examples, recent]`, the newest of the whole history.
          training: whether dropout is on.
        """
        known = split >= 0
        items = self.item_tower.item_embedding(tf.maximum(split, 0))
        vectors = self.user_tower(shared, node, items, known, training=training)
        if self.relations is None:
            return vectors
        related = self.relations(recent, split, training=training)
        return tf.concat([vectors, related], axis=1)

    def newest(self, rows, last) -> tf.Tensor:
        """Returns the newest events int32 `[batch, n, recent]`, newest first.

        Args:
          rows: int32 `[batch, time]`; -1 = none.
          last: int32 `[batch, n]`, place of the newest event.
        """
        index = last[..., None] - tf.range(self.settings.recent)
        found = tf.gather(rows, tf.maximum(index, 0), batch_dims=1)
        return tf.where(index >= 0, found, -1)

    def compute_loss(self, inputs, training=False):
        """Returns the loss of a batch of windows, see `windows.training_windows`."""
        # With dropout, as in `Generator.batch_loss`.
        states = tf.stop_gradient(self._encode(inputs["rows"], training=training))
        cuts = inputs["cuts"] + self._long_term + 1
        shared = tf.gather(states, cuts, batch_dims=1)
        shared = tf.reshape(shared, [-1, shared.shape[-1]])
        node = tf.reshape(inputs["node"], [-1])
        split = tf.reshape(inputs["split"], [-1, self.settings.split_history])
        target = tf.gather(
            self._constants.place_of_row, tf.reshape(inputs["target"], [-1])
        )
        recent = self.newest(inputs["rows"], cuts - 1)
        recent = tf.reshape(recent, [-1, self.settings.recent])
        users = self.users(shared, node, split, recent, training=training)
        if self._rows.shape[0] <= self.settings.full_softmax_items:
            return self._loss_against_all(users, node, split, target)
        return self._loss_against_sample(users, node, split, target)

    def _loss_against_all(self, users, node, split, target):
        vectors = self.items_at(tf.range(self._rows.shape[0]))
        logits = tf.matmul(users, vectors, transpose_b=True)
        seen = item_losses.first_seen(split, tf.shape(vectors)[0]) < tf.int32.max
        seen = tf.gather(seen, self._rows, axis=1)
        logits = logits + self.repeat * tf.cast(seen, tf.float32)
        place = tf.range(tf.shape(vectors)[0])[None]
        start = tf.gather(self._constants.start, node)[:, None]
        end = tf.gather(self._constants.end, node)[:, None]
        usable = (place >= start) & (place < end) & (place != target[:, None])
        positive = tf.gather(logits, target, batch_dims=1)
        return self._loss(positive, logits, usable, tf.zeros([tf.shape(node)[0]]))

    def _loss_against_sample(self, users, node, split, target):
        places, usable, log_inclusion = self._candidates(node)
        usable = usable & (places != target[:, None])
        flat = self.items_at(tf.reshape(places, [-1]))
        vectors = tf.reshape(flat, [*tf.unstack(tf.shape(places)), users.shape[-1]])
        candidates = tf.einsum("ed,ecd->ec", users, vectors)
        candidates = candidates + self._shift(places, split)
        positive = tf.reduce_sum(users * self.items_at(target), axis=1)
        positive = positive + self._shift(target[:, None], split)[:, 0]
        return self._loss(positive, candidates, usable, log_inclusion)

    def _shift(self, places, split):
        """float32 `[examples, n]`: the score that repeated consumption adds."""
        rows = tf.gather(self._rows, places)
        seen = tf.reduce_any(rows[..., None] == split[:, None], axis=-1)
        return self.repeat * tf.cast(seen, tf.float32)

    def _candidates(self, node):
        """All items of a small circle, uniform draws from a large one."""
        draws = self.settings.negatives
        start = tf.gather(self._constants.start, node)[:, None]
        size = tf.gather(self._constants.end, node)[:, None] - start
        uniform = tf.random.uniform([tf.shape(node)[0], draws])
        drawn = tf.cast(uniform * tf.cast(size, tf.float32), tf.int32)
        small = size <= draws
        offset = tf.where(small, tf.range(draws)[None], tf.minimum(drawn, size - 1))
        share = tf.cast(draws, tf.float32) / tf.cast(size[:, 0], tf.float32)
        log_inclusion = tf.math.log(tf.minimum(share, 1.0))
        usable = offset < size
        return start + tf.where(usable, offset, 0), usable, log_inclusion

    def _loss(self, positive, candidates, usable, log_inclusion):
        if self.settings.loss == "bce":
            return circle_losses.binary_cross_entropy(positive, candidates, usable)
        return circle_losses.softmax(positive, candidates, usable, log_inclusion)
