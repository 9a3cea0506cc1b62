import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.models import generator, single_vector
from tfrs_himirec.training import windows
from tfrs_himirec.tree import circle_tree, kmeans

ITEMS, NEXT = 60, 6


@pytest.fixture(scope="module")
def tree_and_rows():
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 3)) ** 3
    return kmeans.build_tree(vectors, config.Tree(k=3, c=4))


def _line(tree, rows, item: int) -> list[int]:
    """Circles of an item from the root to its leaf."""
    place = rows.tolist().index(item)
    holds = (tree.start <= place) & (place < tree.end)
    return np.flatnonzero(holds).tolist()  # ancestors stand before descendants


def _is_light_interest(tree, rows, node: int, future: list[int], spread) -> bool:
    """At least two next items in the circle, none of its children has too many."""
    if node == circle_tree.ROOT or tree.is_leaf[node]:
        return False
    lines = [_line(tree, rows, item) for item in future]
    inside = sum(node in line for line in lines)
    children = [child for child in tree.children[node] if child >= 0]
    largest = max(sum(child in line for line in lines) for child in children)
    return inside >= 2 and largest <= spread * inside


def _naive_target(tree, rows, item, future, spread=None):
    """Circles and choices of one path; `spread` is None in leaf mode."""
    line = _line(tree, rows, item)
    choices: list[int] = []
    for node, below in zip(line[:-1], line[1:], strict=True):
        if spread and _is_light_interest(tree, rows, node, future, spread):
            choices.append(tree.k)
            break
        choices.append(int(tree.number[below]))
    return line[: len(choices)], choices


def _random_futures(cuts: int, spread_out: bool, seed: int) -> np.ndarray:
    """Next items, padded; neighbours in the tree order fall into common circles."""
    rng = np.random.default_rng(seed)
    width = ITEMS if spread_out else 12
    first = rng.integers(0, ITEMS - width + 1, (cuts, 1))
    future = first + rng.integers(0, width, (cuts, NEXT))
    return np.where(np.arange(NEXT) < rng.integers(1, NEXT + 1, (cuts, 1)), future, -1)


@pytest.mark.parametrize("spread", [None, 0.4, 0.5, 0.8, 1.0])
def test_path_targets_against_plain_python(tree_and_rows, spread):
    tree, rows = tree_and_rows
    stop = "leaf" if spread is None else "adaptive"
    constants = windows.TreeConstants(tree, rows)
    targets = generator.PathTargets(constants, tree.k, stop, spread or 0.5)
    places = np.concatenate(
        [_random_futures(20, True, seed=0), _random_futures(40, False, seed=1)]
    )
    future = np.where(places >= 0, rows[places], -1).reshape(3, 20, NEXT)
    count = (future >= 0).sum(axis=-1, keepdims=True)
    chosen = np.random.default_rng(2).integers(0, count, (3, 20, 4))
    nodes, choices = targets(
        tf.constant(future, tf.int32), tf.constant(chosen, tf.int32)
    )
    assert nodes.shape == choices.shape == (3, 20, 4, tree.depth)
    stopped = 0
    for window, cut, path in np.ndindex(3, 20, 4):
        real = [item for item in future[window, cut].tolist() if item >= 0]
        item = real[chosen[window, cut, path]]
        line, wanted = _naive_target(tree, rows, item, real, spread)
        found = choices[window, cut, path].numpy().tolist()
        assert found == wanted + [-1] * (tree.depth - len(wanted))
        assert nodes[window, cut, path].numpy()[: len(line)].tolist() == line
        stopped += tree.k in wanted
    assert (stopped > 0) == (spread is not None)


def _model(tree, rows, **changes) -> generator.Generator:
    keras.utils.set_random_seed(1)
    sizes = config.Encoder(dim=16, layers=1, short_term=8, long_term=3)
    settings = {"dropout": 0.0, "cuts": 4, "paths": 2, "distill": 0.0}
    return generator.Generator(
        config.Generator(**settings | changes),
        single_vector.make_encoder(sizes, ITEMS),
        sizes.long_term,
        tree,
        rows,
    )


def _batch(seed: int = 0) -> dict[str, tf.Tensor]:
    """Users who stay with four items each."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, ITEMS, (16, 4))
    rows = np.take_along_axis(taste, rng.integers(0, 4, (16, 11)), 1)
    future = np.take_along_axis(taste, rng.integers(0, 4, (16, 8 * NEXT)), 1)
    batch = {
        "rows": rows,
        "future": future.reshape(16, 8, NEXT),
        "cuts": rng.integers(0, 8, (16, 4)),
    }
    return {name: tf.constant(value, tf.int32) for name, value in batch.items()}


@pytest.mark.parametrize("stop", ["leaf", "adaptive"])
def test_training_reduces_the_loss_and_leaves_the_encoder_alone(tree_and_rows, stop):
    model = _model(*tree_and_rows, stop=stop)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    batch = _batch()
    before = [w.numpy() for w in model.encoder.weights]
    first = float(model.batch_loss(batch, training=False))
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(dataset, steps_per_epoch=25, verbose=0)
    assert float(model.batch_loss(batch, training=False)) < 0.8 * first
    for was, weight in zip(before, model.encoder.weights, strict=True):
        np.testing.assert_array_equal(was, weight)


def test_distillation_against_the_single_vector(tree_and_rows):
    tree, rows = tree_and_rows
    model = _model(tree, rows, distill=1.0)
    model.encoder.repeat_weight.assign(-0.2)
    vectors = model.encoder.item_embedding
    vectors.embeddings.assign(10 * vectors.embeddings.numpy())
    batch = _batch()
    memory = model(batch["rows"])
    masses = model._masses(batch, memory).numpy()
    for user, cut in np.ndindex(3, 4):
        slot = int(batch["cuts"][user, cut])
        state = memory[user, slot + 4].numpy()
        scores = vectors.embeddings.numpy() @ state
        past = batch["rows"][user, : slot + 4].numpy()
        scores[list(set(past[past >= 0]))] -= 2.0
        share = (np.exp(scores) / np.exp(scores).sum())[rows]
        wanted = [share[tree.start[n] : tree.end[n]].sum() for n in range(tree.nodes)]
        np.testing.assert_allclose(masses[user, cut], wanted, atol=1e-5)
    nodes = tf.fill([16, 8, tree.depth], 0)
    shares = model._shares(batch, memory, nodes).numpy()
    children = tree.children[0][tree.children[0] >= 0]
    wanted = masses[0, 1, children] / masses[0, 1, children].sum()
    np.testing.assert_allclose(shares[0, 2, 0, : len(children)], wanted, rtol=1e-4)
    assert (shares[..., -1] == 0).all()


def test_distillation_alone_follows_the_single_vector(tree_and_rows):
    tree, rows = tree_and_rows
    model = _model(tree, rows, distill=1.0)
    vectors = model.encoder.item_embedding
    vectors.embeddings.assign(10 * vectors.embeddings.numpy())
    batch = _batch() | {"cuts": tf.fill([16, 4], 7)}  # the last state

    def error() -> float:
        masses = model._masses(batch, model(batch["rows"])).numpy()[:, 0]
        found = model.interests(batch["rows"], model(batch["rows"]), 99, "prefixes")
        exists = found.nodes.numpy() >= 0
        wanted = np.take_along_axis(masses, np.maximum(found.nodes.numpy(), 0), 1)
        off = np.abs(np.exp(found.log_probability.numpy()) - wanted)
        return float(off[exists].mean())

    before = error()
    model.compile(optimizer=keras.optimizers.Adam(0.02))
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(dataset, steps_per_epoch=60, verbose=0)
    assert error() < 0.5 * before


def test_circles_start_at_their_size_and_mean_vector(tree_and_rows):
    tree, rows = tree_and_rows
    model = _model(tree, rows)
    model.start_from_circle_means(tree, rows)
    history = tf.constant([[3, 1, 4] + [-1] * 8], tf.int32)
    states = model(history)
    found = model.interests(history, states, beams=tree.nodes, circles="prefixes")
    vectors = model.encoder.item_embedding.embeddings.numpy()[rows]
    state = states[0, 3].numpy()
    wanted = {0: 0.0}
    for node in range(tree.nodes):
        children = tree.children[node][tree.children[node] >= 0]
        mass = [
            (tree.end[c] - tree.start[c])
            * np.exp(vectors[tree.start[c] : tree.end[c]].mean(axis=0) @ state)
            for c in children
        ]
        for child, share in zip(children, np.array(mass) / sum(mass), strict=True):
            wanted[child] = wanted[node] + np.log(share)
    for node, value in zip(found.nodes[0], found.log_probability[0], strict=True):
        if node >= 0:
            assert float(value) == pytest.approx(wanted[int(node)], abs=1e-4)


@pytest.mark.parametrize("stop", ["leaf", "adaptive"])
def test_path_loss_is_minus_the_log_likelihood_of_the_paths(tree_and_rows, stop):
    tree, rows = tree_and_rows
    model = _model(tree, rows, stop=stop)
    noise = np.random.default_rng(0).normal(size=model.decoder.prior.shape)
    model.decoder.prior.assign(noise)
    choice = np.random.default_rng(2).normal(size=model.decoder.choice.shape)
    model.decoder.choice.assign(choice)
    batch = _batch()
    one = np.random.default_rng(1).integers(0, ITEMS, (16, 8, 1))
    batch["future"] = tf.constant(np.repeat(one, NEXT, axis=2), tf.int32)
    states = model(batch["rows"])
    total = 0.0
    for user, cut in np.ndindex(4, 4):
        slot = int(batch["cuts"][user, cut])
        item = int(one[user, slot, 0])
        future = [item] * NEXT
        spread = None if stop == "leaf" else model.settings.spread
        line, choices = _naive_target(tree, rows, item, future, spread)
        logs = model.path_log_probabilities(
            tf.constant([[choices[:-1]]], tf.int32),
            tf.constant([[line]], tf.int32),
            states[user : user + 1],
            tf.constant([[slot + 3 + 1]]),
            batch["rows"][user : user + 1],
        )[0, 0]
        total -= sum(float(logs[s, c]) for s, c in enumerate(choices))
    few = {name: value[:4] for name, value in batch.items()}
    loss = model.batch_loss(few, training=False)
    assert float(loss) == pytest.approx(total / 16, rel=1e-4)


def test_nearer_items_are_sampled_more_often_and_padding_never(tree_and_rows):
    model = _model(*tree_and_rows, distance_decay=0.5, paths=3000)
    future = tf.constant([[[5, 6, 7, -1, -1, -1], [5] + [-1] * 5, *[[4] * 6] * 2]])
    drawn = model._sample(future).numpy()
    share = np.bincount(drawn[0, 0], minlength=NEXT) / 3000
    np.testing.assert_allclose(share[:3], np.array([4, 2, 1]) / 7, atol=0.04)
    assert (share[3:] == 0).all()
    assert (drawn[0, 1] == 0).all()


def test_weights_survive_a_save(tree_and_rows, tmp_path):
    model, again = _model(*tree_and_rows), _model(*tree_and_rows)
    model.decoder.prior.assign_add(tf.ones_like(model.decoder.prior))
    model.save_weights(tmp_path / "g.weights.h5")
    again.load_weights(tmp_path / "g.weights.h5")
    rows = _batch()["rows"]
    found = again.interests(rows, again(rows), 5)
    wanted = model.interests(rows, model(rows), 5)
    np.testing.assert_array_equal(found.nodes, wanted.nodes)
    np.testing.assert_array_equal(found.log_probability, wanted.log_probability)
