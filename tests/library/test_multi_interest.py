import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.baselines import divide_and_conquer, interests, multi_interest
from tfrs_himirec.tree import kmeans

KINDS = ("mind", "comirec_sa", "comirec_dr")
ITEMS, PLACES, LONG = 30, 6, 3


def _items(examples: int, dim: int = 8) -> tf.Tensor:
    keras.utils.set_random_seed(0)
    return tf.random.normal([examples, PLACES, dim])


KNOWN = tf.constant(np.arange(PLACES) >= np.array([[0], [2], [5]]))


def _layer(kind: str):
    if kind == "comirec_sa":
        return interests.SelfAttentiveInterests(3, PLACES)
    return interests.RoutedInterests(3, PLACES, shared=kind == "mind")


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_matter(kind):
    layer, items = _layer(kind), _items(3)
    first = layer(items, KNOWN).numpy()
    noise = tf.random.normal(items.shape)
    second = layer(tf.where(KNOWN[..., None], items, noise), KNOWN).numpy()
    assert first.shape == (3, 3, 8)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_self_attention_by_hand():
    layer, items = _layer("comirec_sa"), _items(3)
    found = layer(items, KNOWN).numpy()
    values = items.numpy()[1][2:]
    hidden = np.tanh(
        (values + layer.position.numpy()[2:]) @ layer.hidden.kernel.numpy()
    )
    logits = hidden @ layer.attention.kernel.numpy()
    share = np.exp(logits) / np.exp(logits).sum(axis=0)
    np.testing.assert_allclose(found[1], share.T @ values, atol=1e-5)


def test_routing_by_hand():
    """Sabour et al. (2017), procedure 1, with loops."""
    layer, items = _layer("comirec_dr"), _items(3)
    found = layer(items, KNOWN).numpy()
    maps, values = layer.maps.numpy(), items.numpy()[1]
    votes = np.array(
        [[values[p] @ maps[p, k] for k in range(3)] for p in range(PLACES)]
    )
    logits = np.zeros((PLACES, 3))
    for _ in range(3):
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        capsules = []
        for k in range(3):
            s = sum(share[p, k] * votes[p, k] for p in range(2, PLACES))
            length = np.linalg.norm(s)
            capsules.append(s / length * length**2 / (1 + length**2))
        logits += np.array(
            [[votes[p, k] @ capsules[k] for k in range(3)] for p in range(PLACES)]
        )
    np.testing.assert_allclose(found[1], capsules, rtol=1e-3, atol=1e-5)


def test_mind_gives_a_short_history_fewer_interests():
    layer = interests.RoutedInterests(3, 8, shared=True)
    items = tf.random.normal([4, 8, 4])
    known = tf.constant(np.arange(8) >= 8 - np.array([[1], [3], [4], [8]]))
    found = layer(items, known).numpy()
    distinct = [len(np.unique(user.round(5), axis=0)) for user in found]
    assert distinct == [1, 1, 2, 3]


def _model(kind: str, **changes) -> multi_interest.MultiInterest:
    keras.utils.set_random_seed(1)
    sizes = {"dim": 8, "interests": 3, "places": PLACES, "dropout": 0.0}
    settings = multi_interest.Settings(kind=kind, **sizes | changes)
    return multi_interest.MultiInterest(settings, ITEMS, LONG)


def _batch() -> dict[str, tf.Tensor]:
    """Users who stay with four items each."""
    rng = np.random.default_rng(0)
    taste = rng.integers(0, ITEMS, (16, 4))
    rows = np.take_along_axis(taste, rng.integers(0, 4, (16, 11)), 1)
    future = np.take_along_axis(taste, rng.integers(0, 4, (16, 8 * 4)), 1)
    batch = {
        "rows": rows,
        "future": future.reshape(16, 8, 4),
        "cuts": rng.integers(0, 8, (16, 4)),
    }
    return {name: tf.constant(value, tf.int32) for name, value in batch.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("negatives", [0, 20])
def test_training_reduces_the_loss(kind, negatives):
    model = _model(kind, negatives=negatives)
    model.compile(optimizer=keras.optimizers.Adam(0.02))
    batch = _batch()
    first = float(model.batch_loss(batch, training=False))
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(dataset, steps_per_epoch=40, verbose=0)
    assert float(model.batch_loss(batch, training=False)) < 0.85 * first


def test_the_loss_follows_the_interest_next_to_each_target():
    model = _model("comirec_sa", distance_decay=0.5)
    vectors = np.random.default_rng(3).normal(size=(1, 3, 8)).astype(np.float32)
    future = tf.constant([[4, 7, -1]])
    items = model.item_embedding.embeddings.numpy()
    losses = []
    for row in (4, 7):
        scores = vectors[0] @ items.T
        chosen = scores[np.argmax(scores[:, row])]
        losses.append(np.log(np.exp(chosen).sum()) - chosen[row])
    wanted = (losses[0] + 0.5 * losses[1]) / 1.5
    found = float(model._loss(tf.constant(vectors), future))
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_the_largest_over_the_interests(kind):
    model = _model(kind)
    histories = [np.array([3, 1, 4]), np.arange(9), np.array([], int)]
    found = model.score(histories)
    assert found.shape == (3, ITEMS)
    rows = tf.constant([[-1, -1, -1, 3, 1, 4], [3, 4, 5, 6, 7, 8]])
    vectors = model(rows).numpy()
    wanted = (vectors @ model.item_embedding.embeddings.numpy().T).max(axis=1)
    np.testing.assert_allclose(found[:2], wanted, atol=1e-5)


@pytest.fixture(scope="module")
def tree_and_rows():
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 3))
    return kmeans.build_tree(vectors, config.Tree(k=3, c=6))


def _divided(tree_and_rows, merge: str, level: int = 1):
    keras.utils.set_random_seed(1)
    sizes = {"dim": 8, "layers": 1, "short_term": 8, "long_term": LONG, "dropout": 0.0}
    settings = divide_and_conquer.Settings(level=level, **sizes)
    return divide_and_conquer.DivideAndConquer(settings, *tree_and_rows, merge)


def test_clusters_are_the_circles_of_a_level(tree_and_rows):
    tree, rows = tree_and_rows
    for level in (1, 2, 9):
        model = _divided(tree_and_rows, "joint", level)
        for place, row in enumerate(rows):
            leaf = tree.leaf_of_place[place]
            node = tree.ancestors[leaf][min(level, tree.level[leaf])]
            same = model.cluster_of_row[rows[tree.start[node] : tree.end[node]]]
            assert set(same) == {model.cluster_of_row[row]}
        assert model.clusters == model.cluster_of_row.max() + 1


def test_prompts_tell_clusters_apart_and_only_they_are_trained_against(tree_and_rows):
    model = _divided(tree_and_rows, "joint")
    model.compile(optimizer=keras.optimizers.Adam(0.02))
    batch = _batch()
    first = float(model.batch_loss(batch, training=False))
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(dataset, steps_per_epoch=30, verbose=0)
    assert float(model.batch_loss(batch, training=False)) < 0.8 * first
    assert np.abs(model.prompt.numpy() - 1).max() > 0.01


@pytest.mark.parametrize("merge", ["joint", "quota"])
def test_every_cluster_is_searched(tree_and_rows, merge):
    model = _divided(tree_and_rows, merge)
    history = np.flatnonzero(model.cluster_of_row == 1)[:3]
    (scores,) = model.score([history])
    counts = np.bincount(model.cluster_of_row[history], minlength=model.clusters) + 1
    share = counts / counts.sum()
    if merge == "joint":
        for c in range(model.clusters):
            mass = np.exp(scores[model.cluster_of_row == c]).sum()
            assert mass == pytest.approx(share[c], rel=1e-4)
    else:
        top = model.cluster_of_row[np.argsort(-scores)[:12]]
        found = np.bincount(top, minlength=model.clusters) / 12
        np.testing.assert_allclose(found, share, atol=0.1)
