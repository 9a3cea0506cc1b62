"""A SavedModel of plain TensorFlow ops with the signatures of a real export.

For a history that ends with the number n it returns the items n + step, n + 2 * step
and n + 3 * step, the last one from the popular list; excluded items leave a gap.
"""

import pathlib

import tensorflow as tf

FORBIDDEN = 666  # The graph refuses it as an invalid argument.
BROKEN = 777  # The graph fails over it as it would over a bug.


def save(
    directory: pathlib.Path, id_dtype: tf.DType = tf.int64, step: int = 1
) -> pathlib.Path:
    tf.saved_model.save(tf.Module(), str(directory), _signatures(id_dtype, step))
    return directory


def _signatures(id_dtype, step):
    none = tf.constant([[-1 if id_dtype == tf.int64 else ""]], id_dtype)
    ids = tf.TensorSpec([None, None], id_dtype)
    lengths = tf.TensorSpec([None], tf.int64)
    texts = tf.TensorSpec([None], tf.string)
    whole = tf.constant([-1], tf.int64)

    @tf.function(input_signature=[ids, lengths, ids])
    def recommend(history, history_length=whole, exclude=none):
        return _recommend(history, history_length, exclude, step)

    @tf.function(input_signature=[texts])
    def recommend_examples(examples):
        feature = tf.io.RaggedFeature(id_dtype, row_splits_dtype=tf.int64)
        parsed = tf.io.parse_example(examples, {"history": feature})["history"]
        lengths = parsed.row_lengths()
        return _recommend(parsed.to_tensor(none[0, 0]), lengths, none, step)

    @tf.function(input_signature=[ids, lengths])
    def mine_interests(history, history_length=whole):
        return _interests(_last(history, history_length))

    @tf.function(input_signature=[texts, ids, lengths, ids, ids])
    def retrieve(
        circle, history, history_length=whole, split_history=none, exclude=none
    ):
        del circle, split_history
        answer = _recommend(history, history_length, exclude, step)
        return {alias: answer[alias] for alias in ("item_ids", "scores")}

    return {
        "serving_default": recommend,
        "recommend_examples": recommend_examples,
        "mine_interests": mine_interests,
        "retrieve": retrieve,
    }


def _last(history, lengths):
    """int64 `[batch]`: the number of the last item, 0 for an empty history."""
    numbers = history
    if history.dtype == tf.string:
        numbers = tf.strings.to_number(
            tf.where(history == "", "-1", history), out_type=tf.int64
        )
    width = tf.shape(history, tf.int64)[1]
    lengths = tf.broadcast_to(tf.where(lengths < 0, width, lengths), [_batch(history)])
    inside = tf.sequence_mask(lengths, width)
    is_broken = tf.reduce_any(numbers == BROKEN)
    empty_file = tf.io.read_file(tf.where(is_broken, "/no/such/file", "/dev/null"))
    zero = tf.cast(tf.strings.length(empty_file), tf.int64)
    check = tf.debugging.assert_none_equal(numbers, tf.constant(FORBIDDEN, tf.int64))
    with tf.control_dependencies([check]):
        places = tf.maximum(lengths - 1, 0)
        return zero + tf.gather(tf.where(inside, numbers, 0), places, batch_dims=1)


def _batch(tensor):
    return tf.shape(tensor, tf.int64)[0]


def _interests(last):
    known = last > 0
    return {
        "circles": tf.stack(
            [tf.where(known, "1/2", ""), tf.fill([_batch(last)], "")], 1
        ),
        "interest_probabilities": tf.stack(
            [tf.where(known, 0.75, 0.0), tf.fill([_batch(last)], 0.0)], axis=1
        ),
    }


def _recommend(history, lengths, exclude, step):
    last = _last(history, lengths)
    numbers = last[:, None] + step * tf.constant([[1, 2, 3]], tf.int64)
    ids = numbers if history.dtype == tf.int64 else tf.strings.as_string(numbers)
    taken = tf.reduce_any(ids[:, :, None] == exclude[:, None, :], axis=-1)
    nothing = tf.constant(-1 if ids.dtype == tf.int64 else "", ids.dtype)
    return _interests(last) | {
        "item_ids": tf.where(taken, nothing, ids),
        "scores": tf.tile([[3.0, 2.0, 1.0]], [_batch(last), 1]),
        "result_interest": tf.tile([[0, 0, -1]], [_batch(last), 1]),
    }
