import math

import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec.models import circle_losses, item_losses


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_equation_3_by_hand():
    loss = circle_losses.binary_cross_entropy(
        tf.constant([2.0, -1.0]),
        tf.constant([[0.5, -0.5, 9.0], [1.5, 9.0, 9.0]]),
        tf.constant([[True, True, False], [True, False, False]]),
    )
    others = (math.log(1 - _sigmoid(0.5)) + math.log(1 - _sigmoid(-0.5))) / 2
    first = -(math.log(_sigmoid(2.0)) + others)
    second = -(math.log(_sigmoid(-1.0)) + math.log(1 - _sigmoid(1.5)))
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-5)


def test_equation_3_without_any_usable_negative():
    nothing = tf.constant([[False, False]])
    score = tf.constant([0.7])
    loss = circle_losses.binary_cross_entropy(score, tf.ones([1, 2]), nothing)
    assert float(loss) == pytest.approx(-math.log(_sigmoid(0.7)), rel=1e-5)


def test_full_softmax_by_hand():
    loss = circle_losses.softmax(
        tf.constant([1.0, 0.0]),
        tf.constant([[0.2, 1.0, -0.3], [2.0, 0.0, 7.0]]),
        tf.constant([[True, False, True], [True, False, False]]),
        tf.constant(0.0),
    )
    first = math.exp(1.0) / (math.exp(1.0) + math.exp(0.2) + math.exp(-0.3))
    second = 1 / (1 + math.exp(2.0))
    wanted = -(math.log(first) + math.log(second)) / 2
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_sampled_softmax_corrects_by_log_q():
    loss = circle_losses.softmax(
        tf.constant([1.0]),
        tf.constant([[0.2, -0.3]]),
        tf.constant([[True, True]]),
        tf.constant([math.log(0.1)]),  # 2 draws from a circle of 20 items
    )
    others = (math.exp(0.2) + math.exp(-0.3)) / 0.1
    wanted = -math.log(math.exp(1.0) / (math.exp(1.0) + others))
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_sampled_softmax_is_close_to_full_for_many_draws():
    rng = np.random.default_rng(0)
    scores, draws = rng.normal(size=50), 20_000
    full = circle_losses.softmax(
        tf.constant(scores[:1], tf.float32),
        tf.constant(scores[None], tf.float32),
        tf.constant(np.arange(50)[None] != 0),
        tf.constant(0.0),
    )
    drawn = rng.integers(0, 50, draws)
    sampled = circle_losses.softmax(
        tf.constant(scores[:1], tf.float32),
        tf.constant(scores[drawn][None], tf.float32),
        tf.constant((drawn != 0)[None]),
        tf.constant([math.log(draws / 50)]),
    )
    assert float(sampled) == pytest.approx(float(full), abs=0.02)


FUTURE = np.array(
    [[[2, 0, -1], [1, -1, -1], [-1, -1, -1]], [[0, 3, 3], [-1] * 3, [-1] * 3]],
    np.int32,
)


def _states_and_items():
    rng = np.random.default_rng(1)
    states = rng.normal(size=(2, 3, 4)).astype(np.float32)
    return states, rng.normal(size=(5, 4)).astype(np.float32)


SEEN = np.array([[1, 0, 2, 9, 9], [0, 9, 9, 0, 9]], np.int32)


def _loss(states, items, future, decay, negatives=0, repeat=0.0):
    def shift(cut, wanted):
        user, time = cut.numpy().T
        known = SEEN[user] <= time[:, None]
        here = wanted is None and len(items) == 5
        return tf.constant(repeat * known if here else 0.0, tf.float32)

    return item_losses.next_items_loss(
        states, items, tf.constant(future), decay, shift, negatives
    )


@pytest.mark.parametrize("repeat", [0.0, -2.0, 1.5])
def test_next_items_by_hand(repeat):
    states, items = _states_and_items()
    losses = []
    for user, time in [(0, 0), (0, 1), (1, 0)]:  # the cut points with a future
        scores = items.astype(np.float64) @ states[user, time]
        scores += repeat * (SEEN[user] <= time)
        log_softmax = scores - math.log(np.exp(scores).sum())
        wanted = [row for row in FUTURE[user, time] if row >= 0]
        weight = [0.5**j for j in range(len(wanted))]
        pairs = zip(weight, wanted, strict=True)
        losses.append(-sum(w * log_softmax[r] for w, r in pairs) / sum(weight))
    loss = _loss(states, items, FUTURE, 0.5, repeat=repeat)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_states_without_a_future_have_no_gradient():
    states, items = _states_and_items()
    states = tf.Variable(states)
    for negatives in (0, 7):
        with tf.GradientTape() as tape:
            loss = _loss(states, items, FUTURE, 0.5, negatives)
        moved = np.abs(tape.gradient(loss, states)).sum(axis=-1) > 0
        assert moved.tolist() == [[True, True, False], [True, False, False]]


def test_no_future_at_all_is_zero():
    states, items = _states_and_items()
    nothing = tf.fill([2, 3, 3], -1)
    assert float(_loss(states, items, nothing, 0.9)) == 0


def test_is_seen_looks_up_all_or_some_items():
    rows = tf.constant([[4, -1, 2, 4, 0], [-1, 1, 3, 3, -1]])
    cut = tf.constant([[0, 0], [0, 2], [1, 1]], tf.int64)
    every = item_losses.is_seen(rows, 2, cut, None, 5).numpy()
    assert [np.flatnonzero(row).tolist() for row in every] == [
        [2, 4],
        [0, 2, 4],
        [1, 3],
    ]
    wanted = tf.constant([[4, 0], [0, 1], [3, 3]])
    some = item_losses.is_seen(rows, 2, cut, wanted, 5).numpy()
    assert some.tolist() == [[True, False], [True, False], [True, True]]


def test_first_seen():
    rows = tf.constant([[2, -1, 2, 0], [-1, -1, -1, -1]])
    never = np.iinfo(np.int32).max
    found = item_losses.first_seen(rows, 3).numpy().tolist()
    assert found == [[3, never, 0], [never] * 3]


def test_sampled_next_items_loss_converges_to_the_full_one():
    rng = np.random.default_rng(2)
    states = rng.normal(size=(2, 3, 4)).astype(np.float32)
    items = 0.7 * rng.normal(size=(300, 4)).astype(np.float32)
    future = np.where(FUTURE >= 0, FUTURE * 70, -1)
    full = float(_loss(states, items, future, 0.9))
    tf.random.set_seed(3)
    error = {}
    for negatives in (20, 20_000):
        repeated = [
            float(_loss(states, items, future, 0.9, negatives)) for _ in range(5)
        ]
        error[negatives] = np.abs(np.array(repeated) - full).mean()
    # The positive is counted beside the sample: at most 1/300 of the mass.
    assert error[20_000] < 0.03
    assert error[20_000] < error[20]
