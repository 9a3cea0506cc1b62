"""Training windows: every event is used once per epoch, at many cut points.

A window is the generator's input of section 2.2 of the paper: a sample of the
long-term behaviour followed by a run of consecutive short-term events. Slot i of the
short-term part is a cut point: what came before is history, the next items are the
targets.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfrs_himirec import config, files
from tfrs_himirec.schema import sequences
from tfrs_himirec.tree import circle_tree

MAX_EVENTS = 4000
"""Longest piece of a training history; a longer one is cropped at random each epoch."""


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Sizes of a window, in events; `cuts` and `split` in counts.

    `unified`: split histories are the newest events of all circles. `widest`: circles
    of the towers are the widest ones half of the time, instead of the leaves.
    """

    long_term: int
    short_term: int
    next_items: int
    cuts: int
    split: int = 0
    unified: bool = False
    widest: bool = False

    @classmethod
    def of(cls, run: config.Run, cuts: int) -> "Lengths":
        """Sizes for the encoder and the generator."""
        e = run.encoder
        return cls(e.long_term, e.short_term, e.next_items, cuts)

    @classmethod
    def of_towers(cls, run: config.Run) -> "Lengths":
        """Sizes for the towers, with split histories."""
        return dataclasses.replace(
            cls.of(run, run.towers.cuts),
            split=run.towers.split_history,
            unified=run.towers.history == "unified",
            widest=run.towers.circles == "widest",
        )

    @property
    def places(self) -> int:
        return self.long_term + self.short_term


def inference_window(rows: tf.Tensor, lengths: Lengths) -> tf.Tensor:
    """Picks the generator's input from left-aligned histories.

    All of the last `short_term` events, and `long_term` events at equal distances
    from those before, so that the same history always gives the same window.

    Args:
      rows: int `[batch, time]`, known rows first, -1 after them.
      lengths: sizes of the window.

    Returns:
      int `[batch, long_term + short_term]`; -1 where there is no event.
    """
    count = tf.reduce_sum(tf.cast(rows >= 0, tf.int32), axis=1)[:, None]
    older = tf.maximum(count - lengths.short_term, 0)
    slot = tf.range(lengths.long_term)[None]
    stride = tf.cast(older, tf.float32) / max(lengths.long_term, 1)
    spaced = tf.cast((tf.cast(slot, tf.float32) + 0.5) * stride, tf.int32)
    direct = slot - (lengths.long_term - older)  # right-aligned while all of them fit
    long_index = tf.where(older > lengths.long_term, spaced, direct)
    short_index = older + tf.range(lengths.short_term)[None]
    index = tf.concat([long_index, short_index], axis=1)
    return _take(rows, tf.where(index < count, index, -1))


def _take(rows: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """`rows[batch, index]`, -1 where the index is negative."""
    padded = tf.pad(rows, [[0, 0], [0, 1]], constant_values=-1)
    last = tf.shape(rows)[1]
    return tf.gather(padded, tf.where(index < 0, last, index), batch_dims=1)


def _split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Independent seeds `[2]` from one."""
    return tf.unstack(tf.random.split(seed, count))


def _long_term_sample(start: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """int32 `[size]`: sorted random indices below `start`; -1 pads on the left."""
    picked = tf.random.experimental.stateless_shuffle(tf.range(start), seed)[:size]
    picked = tf.sort(picked)
    return tf.pad(picked, [[size - tf.shape(picked)[0], 0]], constant_values=-1)


def _crop(history: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    spare = tf.maximum(tf.shape(history)[0] - MAX_EVENTS, 0)
    begin = tf.random.stateless_uniform([], seed, 0, spare + 1, tf.int32)
    return history[begin : begin + MAX_EVENTS]


def _windows_of_user(
    history: tf.Tensor, lengths: Lengths, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Cuts one history into windows; see `training_windows` for the shapes."""
    short = lengths.short_term
    events = tf.shape(history)[0]
    seeds = _split(seed, 3)
    offset = tf.random.stateless_uniform([], seeds[0], 1, short + 1, tf.int32)
    last = tf.maximum(offset, events - 1)
    starts = tf.concat([[0], tf.range(offset, last, short)], axis=0)
    ends = tf.concat([starts[1:], [events]], axis=0)
    slots = starts[:, None] + tf.range(short)[None]
    slots = tf.where(slots < ends[:, None], slots, -1)
    sample = tf.map_fn(
        lambda start: _long_term_sample(
            start, lengths.long_term, tf.random.fold_in(seeds[1], start)
        ),
        starts,
    )
    index = tf.concat([sample, slots], axis=1)
    following = slots[..., None] + 1 + tf.range(lengths.next_items)
    following = tf.where((slots[..., None] >= 0) & (following < events), following, -1)
    everything = tf.repeat(history[None], tf.shape(starts)[0], axis=0)
    return {
        "rows": _take(everything, index),
        "future": tf.reshape(
            _take(everything, tf.reshape(following, [tf.shape(starts)[0], -1])),
            [-1, short, lengths.next_items],
        ),
        "slots": slots,
        "cuts": _sample_cuts(following[..., 0] >= 0, lengths.cuts, seeds[2]),
    }


def _sample_cuts(usable: tf.Tensor, cuts: int, seed: tf.Tensor) -> tf.Tensor:
    """int32 `[windows, cuts]`: random slots that have a future, with replacement."""
    logits = tf.where(usable, 0.0, -1e9)
    return tf.random.stateless_categorical(logits, cuts, seed, tf.int32)


def _split_histories(window, history, lengths, tree: "TreeConstants", seed):
    """Adds a circle of a random level and its split history at every cut.

    The target is one of the next items; the circle is one of its ancestors, because
    inference asks for inner circles too. The root takes part: it is the whole
    library of the ablation without sub-libraries.
    """
    seen = tf.gather(window["slots"], window["cuts"], batch_dims=1)
    future = tf.gather(window["future"], window["cuts"], batch_dims=1)
    seeds = _split(seed, 2)
    logits = tf.reshape(tf.where(future >= 0, 0.0, -1e9), [-1, lengths.next_items])
    choice = tf.random.stateless_categorical(logits, 1, seeds[0])
    target = tf.gather(future, tf.reshape(choice, tf.shape(seen)), batch_dims=2)
    leaf = tf.gather(tree.leaf_of_row, target)
    node = _random_ancestor(leaf, tree, lengths.widest, seeds[1])
    place = tf.gather(tree.place_of_row, history)
    start, end = tf.gather(tree.start, node), tf.gather(tree.end, node)
    inside = (place >= start[..., None]) & (place < end[..., None])
    inside = inside | lengths.unified
    order = tf.range(tf.shape(history)[0])
    index = tf.where(inside & (order <= seen[..., None]), order, -1)
    index = tf.pad(index, [[0, 0], [0, 0], [0, lengths.split]], constant_values=-1)
    newest = tf.math.top_k(index, lengths.split).values
    rows = tf.gather(history, tf.maximum(newest, 0))
    return window | {
        "target": target,
        "node": node,
        "split": tf.where(newest >= 0, rows, -1),
    }


def _random_ancestor(
    leaf: tf.Tensor, tree: "TreeConstants", widest: bool, seed
) -> tf.Tensor:
    """The leaf or widest circle half of the time, otherwise one of a random level."""
    shape = tf.shape(leaf)
    level = tf.gather(tree.level, leaf)
    share, coin = tf.unstack(
        tf.random.stateless_uniform(tf.concat([[2], shape], axis=0), seed)
    )
    upper = tf.cast(share * tf.cast(level + 1, tf.float32), tf.int32)
    usual = tf.minimum(level, 1) if widest else level
    level = tf.where(coin < 0.5, usual, upper)
    return tf.gather(tf.gather(tree.ancestors, leaf), level, batch_dims=2)


class TreeConstants:
    """The tree as int32 constants of the input pipeline and of the models."""

    def __init__(self, tree: circle_tree.CircleTree, rows: np.ndarray):
        places = np.empty_like(rows)
        places[rows] = np.arange(len(rows))
        self.place_of_row = tf.constant(places, tf.int32)
        self.leaf_of_row = tf.constant(tree.leaf_of_place[places], tf.int32)
        self.ancestors = tf.constant(tree.ancestors, tf.int32)
        self.number = tf.constant(tree.number, tf.int32)
        self.level = tf.constant(tree.level, tf.int32)
        self.start = tf.constant(tree.start, tf.int32)
        self.end = tf.constant(tree.end, tf.int32)


def training_windows(
    run_dir: files.Path,
    lengths: Lengths,
    batch_size: int,
    seed: int,
    tree: TreeConstants | None = None,
) -> tf.data.Dataset:
    """Returns shuffled batches of windows of the training users, one epoch.

    Args:
      run_dir: a prepared run directory.
      lengths: sizes of the windows.
      batch_size: windows in a batch.
      seed: of shuffling and sampling; every iteration draws anew.
      tree: when given, circles and split histories for the towers are added.

    Returns:
      Batches of int32 tensors: `rows` `[batch, long_term + short_term]`, `future`
      `[batch, short_term, next_items]`, `slots` `[batch, short_term]` (index of the
      event in the history), `cuts` `[batch, cuts]` (slots); with a tree also
      `target` and `node` `[batch, cuts]` and `split` `[batch, cuts, split]`, newest
      first. -1 is padding everywhere.
    """

    def cut(history, number):
        seeds = _split(tf.stack([number, 0]), 3)
        history = _crop(tf.cast(history, tf.int32), seeds[0])
        window = _windows_of_user(history, lengths, seeds[1])
        if tree is not None:
            window = _split_histories(window, history, lengths, tree, seeds[2])
        return window

    dataset = sequences.read(run_dir, "train").unbatch()
    dataset = dataset.map(lambda user: tf.convert_to_tensor(user["history"]))
    dataset = dataset.filter(lambda history: tf.shape(history)[0] >= 2)
    numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    dataset = tf.data.Dataset.zip(dataset, numbers)
    dataset = dataset.map(cut, num_parallel_calls=2).unbatch()
    return dataset.shuffle(4096, seed).batch(batch_size).prefetch(4)
