"""The history encoder: one causal Transformer, context of both stages."""

import keras
import keras_nlp
from keras import ops


@keras.saving.register_keras_serializable("tfrs_himirec")
class HistoryEncoder(keras.layers.Layer):
    """Causal Transformer over a user's history (paper, Eq. 1).

    A learned start state stands before the history, so that state t has seen the
    first t places and every state is a cut point that training can supervise.

    Args:
      items: size of the item vocabulary.
      places: longest history, in events.
      dim: width of states and item vectors.
      layers: Transformer blocks.
      heads: attention heads.
      dropout: share of activations dropped in training.

    Example:

    ```python
    encoder = HistoryEncoder(items=1000, places=50, dim=32)
    states = encoder(np.array([[3, 17, -1]]))  # [1, 4, 32]; -1 is padding
    ```
    """

    def __init__(
        self,
        items: int,
        places: int,
        dim: int = 64,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.items = items
        self.places = places
        self.dim = dim
        self.layers = layers
        self.heads = heads
        self.dropout = dropout
        init = keras.initializers.RandomNormal(stddev=0.05)
        self.item_embedding = keras.layers.Embedding(items, dim, init, name="item")
        self.position_embedding = keras.layers.Embedding(
            places + 1, dim, init, name="position"
        )
        self.start = self.add_weight(shape=(dim,), initializer=init, name="start")
        self.repeat_weight = self.add_weight(
            shape=(), initializer="zeros", name="repeat"
        )
        self.input_dropout = keras.layers.Dropout(dropout)
        self.blocks = [
            keras_nlp.layers.TransformerEncoder(
                intermediate_dim=4 * dim,
                num_heads=heads,
                dropout=dropout,
                activation="gelu",
                normalize_first=True,
                name=f"block_{i}",
            )
            for i in range(layers)
        ]
        self.norm = keras.layers.LayerNormalization(name="norm")

    @property
    def repeat(self):
        """float32 scalar, added to the score of an item that the user has consumed.

        It is learned: low where users never come back to an item, high where they do.
        """
        return 10.0 * self.repeat_weight  # so that it moves faster than the vectors

    def build(self, input_shape):
        self.item_embedding.build(input_shape)
        self.position_embedding.build(input_shape)
        states = (*input_shape, self.dim)
        for block in self.blocks:
            block.build(states)
        self.norm.build(states)
        self.built = True

    def call(self, rows, prompt=None, training=False):
        """Encodes histories.

        Args:
          rows: int `[batch, time]`, vocabulary rows; -1 is padding, anywhere.
          prompt: float32 `[batch, dim]` that the item vectors are multiplied by.
          training: whether dropout is on.

        Returns:
          float32 `[batch, time + 1, dim]`; state t has seen places `0..t-1`.
        """
        known = rows >= 0
        items = self.item_embedding(ops.maximum(rows, 0))
        items = items * (self.dim**0.5) * ops.cast(known, items.dtype)[..., None]
        if prompt is not None:
            items = items * prompt[:, None]
        start = ops.broadcast_to(self.start, (ops.shape(rows)[0], 1, self.dim))
        states = ops.concatenate([start, items], axis=1)
        states = states + self.position_embedding(ops.arange(ops.shape(states)[1]))
        states = self.input_dropout(states, training=training)
        mask = self._mask(known)
        for block in self.blocks:
            states = block(states, attention_mask=mask, training=training)
        return self.norm(states)

    def _mask(self, known):
        """bool `[batch, time + 1, time + 1]`: earlier, known places and the start."""
        keys = ops.pad(known, [[0, 0], [1, 0]], constant_values=True)
        index = ops.arange(ops.shape(keys)[1])
        return (index[None, :] <= index[:, None])[None] & keys[:, None, :]

    def get_config(self):
        names = ("items", "places", "dim", "layers", "heads", "dropout")
        return super().get_config() | {name: getattr(self, name) for name in names}
