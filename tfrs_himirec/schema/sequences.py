"""`sequences/SPLIT-XXXXX-of-XXXXX.tfrecord`: one `tf.train.Example` per user.

| feature | type | meaning |
| --- | --- | --- |
| user_id | bytes or int64 `[1]` | as in the log |
| history | int64 `[events]` | item vocabulary rows, oldest first |
| history_time | int64 `[events]` | timestamps of `history` |
| targets | int64 `[targets]` | rows of the behaviours to predict; empty in `train` |
"""

import pathlib

import tensorflow as tf

from tfrs_himirec import errors, files

SPLITS = ("train", "validation", "test")


def shard_name(split: str, shard: int, shards: int) -> str:
    return f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"


class Encoder:
    """Encodes users as serialized Examples; one message is used again and again."""

    def __init__(self) -> None:
        self._example = tf.train.Example()
        self._features = self._example.features.feature

    def __call__(self, user_id: int | str, history, history_time, targets) -> bytes:
        features = self._features
        features["user_id"].Clear()
        if isinstance(user_id, str):
            features["user_id"].bytes_list.value.append(user_id.encode())
        else:
            features["user_id"].int64_list.value.append(int(user_id))
        for name, values in (
            ("history", history),
            ("history_time", history_time),
            ("targets", targets),
        ):
            features[name].int64_list.value[:] = values.tolist()
        return self._example.SerializeToString(deterministic=True)


def shard_paths(run_dir: files.Path, split: str) -> list[str]:
    """Returns the sorted shard paths of a split.

    Raises:
      HimirecError: there is none.
    """
    folder = pathlib.Path(run_dir) / "sequences"
    found = sorted(str(path) for path in folder.glob(f"{split}-*.tfrecord"))
    if not found:
        raise errors.HimirecError(
            f"{folder}: no {split} shards; run `himirec prepare` first"
        )
    return found


def read(run_dir: files.Path, split: str, batch_size: int = 256) -> tf.data.Dataset:
    """Returns batches of ragged `history` and `targets`, each int64 `[batch, None]`."""
    spec = {
        "history": tf.io.RaggedFeature(tf.int64),
        "targets": tf.io.RaggedFeature(tf.int64),
    }
    dataset = tf.data.TFRecordDataset(shard_paths(run_dir, split))
    return dataset.batch(batch_size).map(
        lambda records: tf.io.parse_example(records, spec),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
