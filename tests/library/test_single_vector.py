import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.baselines import transformer
from tfrs_himirec.models import single_vector
from tfrs_himirec.training import windows

ITEMS = 30
LENGTHS = windows.Lengths(long_term=3, short_term=8, next_items=4, cuts=1)


def _model(**changes) -> single_vector.SingleVector:
    keras.utils.set_random_seed(1)
    sizes = {"dim": 16, "layers": 1, "short_term": 8, "long_term": 3, "dropout": 0.0}
    return single_vector.SingleVector(config.Encoder(**sizes | changes), ITEMS)


def _batch() -> dict[str, tf.Tensor]:
    """Users who stay with four items each."""
    rng = np.random.default_rng(0)
    taste = rng.integers(0, ITEMS, (16, 4))
    rows = np.take_along_axis(taste, rng.integers(0, 4, (16, 11)), 1)
    future = np.take_along_axis(taste, rng.integers(0, 4, (16, 8 * 4)), 1)
    batch = {"rows": rows, "future": future.reshape(16, 8, 4)}
    return {name: tf.constant(value, tf.int32) for name, value in batch.items()}


@pytest.mark.parametrize("item_negatives", [0, 20])
def test_training_reduces_the_loss(item_negatives):
    model = _model(item_negatives=item_negatives)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    batch = _batch()
    first = float(model.batch_loss(batch, training=False))
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(dataset, steps_per_epoch=25, verbose=0)
    assert float(model.batch_loss(batch, training=False)) < 0.8 * first


def test_scores_are_products_of_the_last_state_and_the_item_vectors():
    model = _model()
    model.encoder.repeat_weight.assign(-0.3)
    histories = [np.array([3, 1, 4]), np.array([], int), np.arange(12)]
    scores = transformer.Transformer(model, LENGTHS).score(histories)
    assert scores.shape == (3, ITEMS)
    for history, found in zip(histories, scores, strict=True):
        rows = tf.constant(history[None] if len(history) else [[-1]], tf.int32)
        window = windows.inference_window(rows, LENGTHS)
        states = model.encoder(window)[0]
        last = states[int(single_vector.last_state(window)[0])]
        wanted = model.item_vectors.numpy() @ last.numpy()
        wanted[list(set(history))] -= 3.0
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_last_state_has_seen_everything():
    rows = tf.constant([[-1, 3, 4, -1], [-1] * 4, [1, 2, 3, 4], [-1, -1, -1, 9]])
    assert single_vector.last_state(rows).numpy().tolist() == [3, 0, 4, 4]
