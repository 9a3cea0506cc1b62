"""The SavedModel: ids in, ids out, four signatures."""

import tensorflow as tf

from tfrs_himirec.models import recommender

SIGNATURES = ("serving_default", "recommend_examples", "mine_interests", "retrieve")


class ServingModule(tf.Module):
    """What TF Serving loads.

    TF Serving restores through the V1 loader, which finds only variables that the
    module itself tracks: a tracked Keras 3 layer would load and then fail at the
    first request. So the recommender is reached through a closure, and its variables
    are tracked as a plain list.

    Args:
      model: the recommender.
      item_ids: int64 or object `[items]` in tree order.
    """

    def __init__(self, model: recommender.Recommender, item_ids):
        super().__init__(name="himirec")
        strings = item_ids.dtype == object
        self.id_dtype = tf.string if strings else tf.int64
        self.nothing = tf.constant("" if strings else -1, self.id_dtype)
        ids = tf.constant(item_ids.tolist(), self.id_dtype)
        self.ids = tf.concat([ids, [self.nothing]], axis=0)
        self.rows = _table(ids, tf.constant(model.towers.rows, tf.int64))
        self.paths = tf.constant([*model.tree.paths[1:], ""])
        nodes = tf.range(1, model.tree.nodes, dtype=tf.int64)
        self.nodes = _table(self.paths[:-1], nodes)
        self.parameters = [v.value for v in model.generator.variables]
        self.parameters += model.towers.variables
        self.index = model.index
        self._functions = _Functions(self, model)

    def signatures(self) -> dict:
        """Returns the concrete signatures by name."""
        return self._functions.signatures()


class _Functions:
    """The signatures; a plain object, so that nothing in it is tracked."""

    def __init__(self, module: ServingModule, model: recommender.Recommender):
        self._module = module
        self._model = model

    def signatures(self) -> dict:
        """Missing inputs get the default of the arguments below from TF Serving."""
        dtype, nothing = self._module.id_dtype, self._module.nothing[None, None]
        ids = tf.TensorSpec([None, None], dtype)
        lengths = tf.TensorSpec([None], tf.int64)
        texts = tf.TensorSpec([None], tf.string)
        whole = tf.constant([-1], tf.int64)

        @tf.function(input_signature=[ids, lengths, ids])
        def serving_default(history, history_length=whole, exclude=nothing):
            return self._recommend(self._known(history, history_length), exclude)

        @tf.function(input_signature=[texts])
        def recommend_examples(examples):
            feature = tf.io.RaggedFeature(dtype)
            spec = {"history": feature, "exclude": feature}
            parsed = tf.io.parse_example(examples, spec)
            history = parsed["history"].to_tensor(self._module.nothing)
            exclude = parsed["exclude"].to_tensor(self._module.nothing)
            return self._recommend(self._known(history, whole), exclude)

        @tf.function(input_signature=[ids, lengths])
        def mine_interests(history, history_length=whole):
            rows = self._known(history, history_length)
            context = self._model.encode(rows)
            found = self._model.mine(context, self._model.run.recommend.beams)
            return {
                "circles": self._paths(found.nodes),
                "interest_probabilities": found.probability,
            }

        @tf.function(input_signature=[texts, ids, lengths, ids, ids])
        def retrieve(
            circle,
            history,
            history_length=whole,
            split_history=nothing,
            exclude=nothing,
        ):
            rows = self._known(history, history_length)
            split = self._known(split_history, whole, tf.shape(rows)[0])
            return self._retrieve(circle, rows, split, exclude)

        functions = (serving_default, recommend_examples, mine_interests, retrieve)
        return dict(zip(SIGNATURES, functions, strict=True))

    def _known(self, ids, length, batch=None) -> tf.Tensor:
        """int32 `[batch, time]`: rows of the known ids, left-aligned, then -1."""
        width = tf.shape(ids)[1]
        length = tf.cast(tf.where(length < 0, tf.int64.max, length), tf.int64)
        place = tf.range(tf.cast(width, tf.int64))
        rows = tf.where(
            place[None] < length[:, None], self._module.rows.lookup(ids), -1
        )
        known = tf.ragged.boolean_mask(rows, rows >= 0).to_tensor(-1)
        known = tf.cast(tf.pad(known, [[0, 0], [0, 1]], constant_values=-1), tf.int32)
        return known if batch is None else _broadcast(known, batch)

    def _excluded(self, ids, batch) -> tf.Tensor:
        """int32 `[batch, n]`: places of excluded ids, -1 for unknown ones."""
        rows = tf.cast(self._module.rows.lookup(ids), tf.int32)
        place = tf.gather(self._model.constants.place_of_row, tf.maximum(rows, 0))
        return _broadcast(tf.where(rows >= 0, place, -1), batch)

    def _recommend(self, rows, exclude) -> dict[str, tf.Tensor]:
        excluded = self._excluded(exclude, tf.shape(rows)[0])
        answer = self._model.recommend(rows, excluded)
        return {
            "item_ids": self._ids(answer.places),
            "scores": answer.scores,
            "circles": self._paths(answer.nodes),
            "interest_probabilities": answer.probability,
            "result_interest": answer.interest,
        }

    def _retrieve(self, circle, rows, split, exclude) -> dict[str, tf.Tensor]:
        node = tf.cast(self._module.nodes.lookup(circle), tf.int32)[:, None]
        chosen = tf.where(tf.reduce_any(split >= 0, 1)[:, None], 0, 1)
        width = tf.maximum(tf.shape(split)[1], tf.shape(rows)[1])
        both = tf.stack([_widen(split, width), _widen(rows, width)], axis=1)
        past = tf.gather(both, chosen, batch_dims=1)[:, 0]
        excluded = self._excluded(exclude, tf.shape(rows)[0])
        found = self._model.retrieve(
            rows,
            self._model.encode(rows).shared,
            node,
            self._model.split(past, node),
            excluded,
            self._model.run.recommend.results,
        )
        return {
            "item_ids": self._ids(found.places[:, 0]),
            "scores": found.scores[:, 0],
        }

    def _ids(self, places) -> tf.Tensor:
        last = tf.shape(self._module.ids)[0] - 1
        return tf.gather(self._module.ids, tf.where(places < 0, last, places))

    def _paths(self, nodes) -> tf.Tensor:
        last = tf.shape(self._module.paths)[0] - 1
        return tf.gather(self._module.paths, tf.where(nodes < 0, last, nodes - 1))


def _table(keys, values):
    initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
    return tf.lookup.StaticHashTable(initializer, default_value=-1)


def _broadcast(rows, batch):
    """Repeats a single row for every user of the batch."""
    return tf.broadcast_to(rows, [batch, tf.shape(rows)[1]])


def _widen(rows, width):
    missing = [[0, 0], [0, width - tf.shape(rows)[1]]]
    return tf.pad(rows, missing, constant_values=-1)
