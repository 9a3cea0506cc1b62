"""Divide & Conquer: one search in every cluster of the library, the lists merged."""

from typing import Literal

import numpy as np
import pydantic
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.evaluation import users
from tfrs_himirec.models import item_losses, single_vector, window_model
from tfrs_himirec.training import windows
from tfrs_himirec.tree import circle_tree

_OUTSIDE = -1e9


class Settings(config.Encoder):
    """The encoder's, plus `level` of the tree whose circles are the clusters."""

    level: int = pydantic.Field(1, ge=1)


class DivideAndConquer(window_model.WindowModel):
    """Prompted single-vector retrieval in every cluster (Zhang et al., 2023).

    One causal Transformer serves all clusters; each has a prompt vector that the item
    vectors of the history are multiplied by, and is trained against its own items
    only. Every cluster is searched for every user.

    Args:
      settings: sizes and training options.
      tree: the clusters are its circles of `settings.level`, or leaves above it.
      rows: int64 `[items]`, vocabulary row at each place in tree order.
      merge: `quota` interleaves the clusters by the user's share of events in them,
        `joint` multiplies that share by the softmax inside the cluster.
    """

    def __init__(
        self,
        settings: Settings,
        tree: circle_tree.CircleTree,
        rows: np.ndarray,
        merge: Literal["quota", "joint"],
    ):
        super().__init__("divide_and_conquer")
        self.settings = settings
        self.merge = merge
        self.encoder = single_vector.make_encoder(settings, tree.items)
        self.encoder.repeat_weight.trainable = False
        clusters, cluster_of_row = _clusters(tree, rows, settings.level)
        self.clusters = clusters
        self.cluster_of_row = cluster_of_row
        self.prompt = self.add_weight(
            shape=(clusters, settings.dim), initializer="ones", name="prompt"
        )
        self.built = True
        lengths = windows.Lengths(
            settings.long_term, settings.short_term, settings.next_items, 1
        )
        spec = tf.TensorSpec([None, None], tf.int32)
        self._infer = tf.function(
            lambda rows: self._log_shares(windows.inference_window(rows, lengths)),
            input_signature=[spec],
        )

    def batch_loss(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Returns the mean loss of a batch, see `windows.training_windows`.

        Every window is trained for the cluster of one of its next items.
        """
        of_row = tf.constant(self.cluster_of_row, tf.int32)
        future = batch["future"]
        first = tf.gather(future[..., 0], batch["cuts"][:, :1], batch_dims=1)
        cluster = tf.gather(of_row, tf.maximum(first, 0))[:, 0]
        inside = tf.gather(of_row, tf.maximum(future, 0)) == cluster[:, None, None]
        outside = _OUTSIDE * tf.cast(of_row[None] != cluster[:, None], tf.float32)
        states = self._states(batch["rows"], cluster, training)
        return item_losses.next_items_loss(
            states[:, self.settings.long_term + 1 :],
            tf.convert_to_tensor(self.encoder.item_embedding.embeddings),
            tf.where(inside, future, -1),
            self.settings.distance_decay,
            lambda cut, wanted: (
                tf.gather(outside, cut[:, 0]) if wanted is None else 0.0
            ),
            self.settings.item_negatives,
        )

    def _states(self, rows, cluster, training):
        prompt = tf.gather(tf.convert_to_tensor(self.prompt), cluster)
        return self.encoder(rows, prompt=prompt, training=training)

    def _log_shares(self, window):
        """float32 `[users, items]`: log-softmax of each item in its own cluster."""
        items = tf.convert_to_tensor(self.encoder.item_embedding.embeddings)
        last = single_vector.last_state(window)
        found = tf.zeros([tf.shape(window)[0], tf.shape(items)[0]])
        for c in range(self.clusters):
            cluster = tf.fill([tf.shape(window)[0]], c)
            states = self._states(window, cluster, False)
            vector = tf.gather(states, last, batch_dims=1)
            inside = (self.cluster_of_row == c)[None]
            logits = tf.where(
                inside, tf.matmul(vector, items, transpose_b=True), _OUTSIDE
            )
            found = tf.where(inside, tf.nn.log_softmax(logits), found)
        return found

    def score(self, histories: list[np.ndarray]) -> np.ndarray:
        """Returns float32 `[users, items]`."""
        shares = self._infer(tf.constant(users.padded(histories))).numpy()
        counts = [
            np.bincount(self.cluster_of_row[h], minlength=self.clusters)
            for h in histories
        ]
        weight = np.array(counts) + 1.0
        weight = (weight / weight.sum(axis=1, keepdims=True))[:, self.cluster_of_row]
        if self.merge == "joint":
            return shares + np.log(weight).astype(np.float32)
        return -(self._ranks(shares) + 0.5) / weight

    def _ranks(self, shares: np.ndarray) -> np.ndarray:
        """int64 `[users, items]`: rank of every item in its cluster, from 0."""
        ranks = np.empty(shares.shape, np.int64)
        for c in range(self.clusters):
            columns = np.flatnonzero(self.cluster_of_row == c)
            order = np.argsort(-shares[:, columns], axis=1, kind="stable")
            ranks[:, columns] = np.argsort(order, axis=1)
        return ranks


def _clusters(tree: circle_tree.CircleTree, rows: np.ndarray, level: int):
    """Number of clusters, and the cluster of every vocabulary row, int64 `[items]`."""
    line = tree.ancestors[tree.leaf_of_place]
    depth = np.minimum(tree.level[tree.leaf_of_place], level)
    node = np.take_along_axis(line, depth[:, None], axis=1)[:, 0]
    names, cluster = np.unique(node, return_inverse=True)
    of_row = np.empty(tree.items, np.int64)
    of_row[rows] = cluster
    return len(names), of_row
