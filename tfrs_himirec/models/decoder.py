"""The path decoder: a distribution over the valid children of a circle, plus stop."""

import keras
import keras_nlp
import numpy as np
from keras import ops

_MASKED = -1e9


@keras.saving.register_keras_serializable("tfrs_himirec")
class PathDecoder(keras.layers.Layer):
    """Transformer decoder over the tokens of semantic category IDs (paper, Eq. 2).

    Token `t(layer, r)` has its own embedding in every layer of the tree, and no
    embedding is shared with the encoder. All paths of a user are decoded as one long
    query sequence under a block-diagonal mask, so the encoder's states are attended
    to where they are instead of being copied for every path.

    Args:
      k: most children of a circle.
      depth: levels of the tree.
      nodes: circles of the tree, root included; each has a linear model of its own
        over its children, to which the Transformer adds.
      dim: width, the encoder's.
      layers: Transformer blocks.
      heads: attention heads.
      dropout: share of activations dropped in training.
    """

    def __init__(
        self,
        k: int,
        depth: int,
        nodes: int,
        dim: int = 64,
        layers: int = 1,
        heads: int = 2,
        dropout: float = 0.2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.k = k
        self.depth = depth
        self.nodes = nodes
        self.dim = dim
        self.layers = layers
        self.heads = heads
        self.dropout = dropout
        init = keras.initializers.RandomNormal(stddev=0.05)
        self.token_embedding = keras.layers.Embedding(
            depth * k + 1, dim, init, name="token"
        )
        self.blocks = [
            keras_nlp.layers.TransformerDecoder(
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
        self.choice = self.add_weight(
            shape=(depth, k + 1, dim), initializer="zeros", name="choice"
        )
        self.circle = self.add_weight(
            shape=(nodes, k + 1, dim), initializer="zeros", name="circle"
        )
        self.prior = self.add_weight(
            shape=(nodes, k + 1), initializer="zeros", name="prior"
        )

    @property
    def output_weights(self) -> tuple:
        """Weights of each circle's choices: of the context `[nodes, k + 1, dim]`, and
        bias `[nodes, k + 1]`."""
        return self.circle, self.prior

    def build(self, input_shape=None):
        self.token_embedding.build((None, None))
        for block in self.blocks:
            block.build((None, None, self.dim), (None, None, self.dim))
        self.norm.build((None, None, self.dim))
        self.built = True

    def call(self, tokens, nodes, allowed, memory, cuts, visible, training=False):
        """Returns log-probabilities of every choice at every step of every path.

        Args:
          tokens: int `[batch, paths, steps - 1]`, the numbers r chosen so far.
          nodes: int `[batch, paths, steps]`, the circle that each step chooses in.
          allowed: bool `[batch, paths, steps, k + 1]`, valid children; last is stop.
          memory: float32 `[batch, time, dim]`, states of the encoder.
          cuts: int `[batch, paths]`, the state that each path starts from.
          visible: bool `[batch, time]`, states of known places.
          training: whether dropout is on.

        Returns:
          float32 `[batch, paths, steps, k + 1]`; the probabilities of the allowed
          choices of a step sum to 1.
        """
        batch, paths = ops.shape(nodes)[0], nodes.shape[1]
        steps = nodes.shape[2]
        states = self._inputs(tokens, memory, cuts)
        states = ops.reshape(states, (batch, paths * steps, self.dim))
        own = np.kron(np.eye(paths), np.tril(np.ones((steps, steps)))).astype(bool)
        own = ops.broadcast_to(own, (batch, *own.shape))
        seen = ops.arange(ops.shape(memory)[1])[None, None] <= cuts[..., None]
        seen = ops.repeat(seen & visible[:, None], steps, axis=1)
        for block in self.blocks:
            states = block(
                states,
                memory,
                decoder_attention_mask=own,
                encoder_attention_mask=seen,
                use_causal_mask=False,
                training=training,
            )
        states = ops.reshape(self.norm(states), (batch, paths, steps, self.dim))
        logits = ops.einsum("bpsd,scd->bpsc", states, self.choice[:steps])
        context = ops.take_along_axis(memory, cuts[..., None], axis=1)
        nodes = ops.maximum(nodes, 0)
        circle = ops.take(self.circle, nodes, axis=0)
        logits = logits + ops.einsum("bpd,bpscd->bpsc", context, circle)
        logits = logits + ops.take(self.prior, nodes, axis=0)
        return ops.log_softmax(ops.where(allowed, logits, _MASKED), axis=-1)

    def _inputs(self, tokens, memory, cuts):
        """float32 `[batch, paths, steps, dim]`: start from the cut, then the path."""
        context = ops.take_along_axis(memory, cuts[..., None], axis=1)[:, :, None]
        layer = ops.arange(tokens.shape[2]) * self.k + 1
        path = self.token_embedding(ops.maximum(tokens, 0) + layer)
        start = self.token_embedding(ops.zeros_like(cuts))[:, :, None]
        return ops.concatenate([start, path], axis=2) + context

    def get_config(self):
        names = ("k", "depth", "nodes", "dim", "layers", "heads", "dropout")
        return super().get_config() | {name: getattr(self, name) for name in names}
