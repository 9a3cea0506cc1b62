"""The history encoder as a model of its own: one user vector, the whole library."""

import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.models import encoder, item_losses, window_model


class SingleVector(window_model.WindowModel):
    """Causal Transformer trained to predict the next items at every event.

    A SASRec-class model (Kang and McAuley, 2018) with a softmax over the library and
    the next N items as targets. Its encoder is what both stages read: a user's last
    state is the vector that the towers correct for each circle.

    Args:
      settings: sizes and training options.
      items: size of the vocabulary.
    """

    def __init__(self, settings: config.Encoder, items: int):
        super().__init__("single_vector")
        self.settings = settings
        self.encoder = make_encoder(settings, items)
        self.built = True

    @property
    def item_vectors(self) -> tf.Tensor:
        """float32 `[items, dim]`, by vocabulary row."""
        return tf.convert_to_tensor(self.encoder.item_embedding.embeddings)

    def batch_loss(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Returns the mean loss of a batch, see `windows.training_windows`."""
        rows, before = batch["rows"], self.settings.long_term
        states = self.encoder(rows, training=training)

        def shift(cut, wanted):
            known = item_losses.is_seen(rows, before, cut, wanted, self.encoder.items)
            return self.encoder.repeat * tf.cast(known, tf.float32)

        return item_losses.next_items_loss(
            states[:, before + 1 :],
            self.item_vectors,
            batch["future"],
            self.settings.distance_decay,
            shift,
            self.settings.item_negatives,
        )


def make_encoder(settings: config.Encoder, items: int) -> encoder.HistoryEncoder:
    """Makes an untrained encoder."""
    layer = encoder.HistoryEncoder(
        items,
        settings.long_term + settings.short_term,
        settings.dim,
        settings.layers,
        settings.heads,
        settings.dropout,
    )
    layer.build((None, None))
    return layer


def last_state(rows: tf.Tensor) -> tf.Tensor:
    """int32 `[batch]`: index of the state that has seen all of a window."""
    index = tf.range(1, tf.shape(rows)[1] + 1)
    return tf.reduce_max(tf.where(rows >= 0, index[None], 0), axis=1)
