import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec.models import decoder, encoder, relations, towers

K, DEPTH, NODES = 3, 2, 9


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _decoder_inputs(batch: int = 2, paths: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    allowed = rng.random((batch, paths, DEPTH, K + 1)) < 0.6
    allowed[..., 0] = True
    return (
        rng.integers(0, K, (batch, paths, DEPTH - 1)).astype(np.int32),
        rng.integers(0, NODES, (batch, paths, DEPTH)).astype(np.int32),
        allowed,
        _normal(batch, 7, 8, seed=seed),
        rng.integers(0, 7, (batch, paths)).astype(np.int32),
        np.ones((batch, 7), bool),
    )


LAYERS = {
    encoder.HistoryEncoder: (
        {"items": 20, "places": 6, "dim": 8, "layers": 1, "heads": 2, "dropout": 0.1},
        lambda: (np.array([[3, 1, -1, 7, 19, 0]], np.int32),),
    ),
    decoder.PathDecoder: (
        {
            "k": K,
            "depth": DEPTH,
            "nodes": NODES,
            "dim": 8,
            "layers": 2,
            "heads": 4,
            "dropout": 0.1,
        },
        _decoder_inputs,
    ),
    towers.UserTower: (
        {"nodes": NODES, "dim": 8, "places": 5, "dropout": 0.1},
        lambda: (
            _normal(4, 8),
            np.arange(4, dtype=np.int32),
            _normal(4, 5, 8),
            np.arange(5) < np.arange(4)[:, None],
        ),
    ),
    relations.Relations: (
        {"items": 20, "dim": 6, "recent": 3, "places": 5, "dropout": 0.1},
        lambda: (
            np.array([[3, 1, -1], [-1, -1, -1]], np.int32),
            np.array([[4, 4, 9, -1, -1], [7, -1, -1, -1, -1]], np.int32),
        ),
    ),
    towers.ItemTower: (
        {"items": 20, "nodes": NODES, "dim": 8},
        lambda: (
            np.arange(4, dtype=np.int32),
            _normal(4, 6),
            np.array([[1, 2], [1, 3], [4, -1], [4, 5]], np.int32),
        ),
    ),
}


def _randomise(layer) -> None:
    rng = np.random.default_rng(9)
    layer.set_weights([rng.normal(size=w.shape) * 0.3 for w in layer.get_weights()])


def _made(layer_class):
    arguments, inputs = LAYERS[layer_class]
    layer = layer_class(**arguments, name="mine")
    layer(*inputs())
    _randomise(layer)
    return layer


@pytest.mark.parametrize("layer_class", LAYERS)
def test_config_round_trip(layer_class):
    layer = _made(layer_class)
    inputs = LAYERS[layer_class][1]()
    again = layer_class.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    again(*inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(*inputs), layer(*inputs))
    assert type(layer).__module__ == layer_class.__module__


@pytest.mark.parametrize("layer_class", LAYERS)
def test_every_argument_is_an_attribute_and_in_the_config(layer_class):
    arguments = LAYERS[layer_class][0]
    signature = inspect.signature(layer_class.__init__).parameters
    assert set(arguments) == set(signature) - {"self", "kwargs"}
    layer = layer_class(**arguments)
    for name, value in arguments.items():
        assert getattr(layer, name) == value
        assert layer.get_config()[name] == value


@pytest.mark.parametrize("layer_class", LAYERS)
def test_keras_version_of_each_layer(layer_class):
    legacy = issubclass(layer_class, tf.keras.layers.Layer)
    assert legacy == (layer_class.__module__ in (towers.__name__, relations.__name__))
    base = tf.keras.layers.Layer if legacy else keras.layers.Layer
    assert issubclass(layer_class, base)


def test_encoder_states_do_not_see_later_events():
    layer = _made(encoder.HistoryEncoder)
    rows = np.array([[3, 1, 4, 1, 5, 9]], np.int32)
    states = layer(rows).numpy()
    for place in range(6):
        changed = rows.copy()
        changed[0, place] = 17
        moved = np.abs(layer(changed).numpy() - states).max(axis=-1)[0] > 1e-6
        assert not moved[: place + 1].any()  # state t has seen places 0..t-1
        assert moved[place + 1 :].all()


def test_encoder_ignores_padding():
    layer = _made(encoder.HistoryEncoder)
    rows = np.array([[3, -1, 4, 1, -1, -1]], np.int32)
    states = layer(rows).numpy()
    weights = layer.get_weights()
    names = [weight.path for weight in layer.weights]
    item = next(i for i, name in enumerate(names) if "item" in name)
    unused = np.setdiff1d(np.arange(20), [3, 4, 1])
    weights[item][unused] += 5
    layer.set_weights(weights)  # padding must not look like any item
    np.testing.assert_array_equal(layer(rows), states)
    trailing = layer(rows[:, :4]).numpy()
    np.testing.assert_allclose(trailing, states[:, :5], atol=1e-5)


def test_encoder_states_of_places_after_padding_ignore_its_position():
    layer = _made(encoder.HistoryEncoder)
    embedding = layer.position_embedding
    rows = np.array([[3, -1, 4, 1, 5, 9]], np.int32)
    states = layer(rows).numpy()
    table = embedding.embeddings.numpy()
    table[2] += 3  # of the padded place 1
    embedding.embeddings.assign(table)
    after = layer(rows).numpy()
    np.testing.assert_allclose(after[:, 3:], states[:, 3:], atol=1e-5)


def test_decoder_probabilities_of_allowed_choices_sum_to_one():
    layer = _made(decoder.PathDecoder)
    inputs = _decoder_inputs()
    probability = np.exp(layer(*inputs).numpy())
    allowed = inputs[2]
    np.testing.assert_allclose(probability.sum(axis=-1), 1, rtol=1e-5)
    assert (probability[~allowed] == 0).all()
    assert (probability[allowed] > 0).all()


def test_paths_are_independent_blocks():
    layer = _made(decoder.PathDecoder)
    numbers, nodes, allowed, memory, cuts, visible = _decoder_inputs()
    together = layer(numbers, nodes, allowed, memory, cuts, visible).numpy()
    for path in range(3):
        one = slice(path, path + 1)
        alone = layer(
            numbers[:, one],
            nodes[:, one],
            allowed[:, one],
            memory,
            cuts[:, one],
            visible,
        )
        np.testing.assert_allclose(alone, together[:, one], atol=1e-5)


def test_paths_do_not_see_states_after_their_cut():
    layer = _made(decoder.PathDecoder)
    numbers, nodes, allowed, memory, _, visible = _decoder_inputs()
    cuts = np.array([[0, 3, 6]] * 2, np.int32)
    before = layer(numbers, nodes, allowed, memory, cuts, visible).numpy()
    changed = memory.copy()
    changed[:, 4:] += 1
    after = layer(numbers, nodes, allowed, changed, cuts, visible).numpy()
    moved = np.abs(after - before).max(axis=(0, 2, 3)) > 1e-6
    assert moved.tolist() == [False, False, True]


def test_paths_do_not_see_states_of_padding():
    layer = _made(decoder.PathDecoder)
    numbers, nodes, allowed, memory, _, visible = _decoder_inputs()
    cuts = np.full((2, 3), 6, np.int32)
    visible[:, 2] = False
    before = layer(numbers, nodes, allowed, memory, cuts, visible).numpy()
    changed = memory.copy()
    changed[:, 2] += 1
    after = layer(numbers, nodes, allowed, changed, cuts, visible).numpy()
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_step_does_not_see_the_choices_after_it():
    layer = decoder.PathDecoder(k=K, depth=3, nodes=NODES, dim=8)
    layer.build()
    layer.choice.assign(_normal(3, K + 1, 8))
    shape = (1, 1, 3, K + 1)
    rest = (_normal(1, 4, 8), np.array([[3]], np.int32), np.ones((1, 4), bool))
    nodes, allowed = np.array([[[0, 1, 2]]], np.int32), np.ones(shape, bool)
    first = layer(np.array([[[0, 1]]], np.int32), nodes, allowed, *rest).numpy()[0, 0]
    second = layer(np.array([[[0, 2]]], np.int32), nodes, allowed, *rest).numpy()[0, 0]
    np.testing.assert_allclose(first[:2], second[:2], atol=1e-6)
    assert np.abs(first[2] - second[2]).max() > 1e-6


def test_a_number_is_another_token_in_another_layer():
    layer = decoder.PathDecoder(k=K, depth=3, nodes=NODES, dim=8)
    table = layer.token_embedding
    layer.build()
    assert table.input_dim == 3 * K + 1
    table.embeddings.assign(np.arange(3 * K + 1)[:, None] * np.ones(8))
    memory, cuts = np.zeros((1, 2, 8), np.float32), np.array([[0]])
    seen = {}
    for number in range(K):
        tokens = np.array([[[number, number]]], np.int32)
        inputs = layer._inputs(tokens, memory, cuts).numpy()[0, 0, :, 0]
        assert inputs[0] == 0  # the start token
        seen[number] = inputs[1:].tolist()
    assert len({token for tokens in seen.values() for token in tokens}) == 2 * K


def test_encoder_and_decoder_share_no_variable():
    first, second = _made(encoder.HistoryEncoder), _made(decoder.PathDecoder)
    ids = [id(variable) for variable in first.weights + second.weights]
    assert len(set(ids)) == len(ids)
    before = [weight.copy() for weight in second.get_weights()]
    _randomise(first)
    first.set_weights([weight + 1 for weight in first.get_weights()])
    for old, new in zip(before, second.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_untrained_user_tower_returns_the_shared_vector():
    arguments, inputs = LAYERS[towers.UserTower]
    shared, *rest = inputs()
    layer = towers.UserTower(**arguments)
    np.testing.assert_array_equal(layer(shared, *rest), shared)
    np.testing.assert_array_equal(layer(shared, *rest, training=True), shared)


def test_user_tower_ignores_padding_and_uses_the_rest():
    layer = _made(towers.UserTower)
    shared, node, items, known = LAYERS[towers.UserTower][1]()
    before = layer(shared, node, items, known).numpy()
    unseen = np.where(known[..., None], items, items + 3)
    np.testing.assert_allclose(layer(shared, node, unseen, known), before, atol=1e-5)
    seen = np.where(known[..., None], items + 3, items)
    moved = np.abs(layer(shared, node, seen, known) - before).max(axis=1) > 1e-4
    assert moved.tolist() == [False, True, True, True]  # row 0 has no history


def test_item_tower_is_the_sum_of_its_parts():
    layer = _made(towers.ItemTower)
    rows, content, path = LAYERS[towers.ItemTower][1]()
    item = layer.item_embedding.embeddings.numpy()
    levels = layer.path_embedding.embeddings.numpy()
    kernel = layer.content.kernel.numpy()
    for row, vector, line, found in zip(
        rows, content, path, layer(rows, content, path), strict=True
    ):
        wanted = item[row] + vector @ kernel
        wanted = wanted + sum(levels[node] for node in line if node >= 0)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_untrained_item_tower_is_the_item_embedding():
    layer = towers.ItemTower(20, NODES, 8)
    rows, content, path = LAYERS[towers.ItemTower][1]()
    found = layer(rows, content, path).numpy()
    np.testing.assert_array_equal(found, layer.item_embedding(rows))


def test_relations_by_hand_and_without_effect_before_training():
    arguments, inputs = LAYERS[relations.Relations]
    layer = relations.Relations(**arguments)
    layer(*inputs())
    assert np.abs(layer.targets(np.arange(20))).max() == 0
    layer = _made(relations.Relations)
    recent, split = inputs()
    source = layer.source.embeddings.numpy()
    for user, found in enumerate(layer(recent, split).numpy()):
        wanted = np.zeros(6)
        for rows, weight in ((recent, "recent_weight"), (split, "split_weight")):
            for place, row in enumerate(rows[user]):
                if row >= 0:
                    wanted += getattr(layer, weight).numpy()[place] * source[row]
        np.testing.assert_allclose(found, wanted, atol=1e-5)
