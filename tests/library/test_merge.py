import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec.models import circle_search, merge

_PROBABILITY = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))


def _quotas(probability, capacity, total: int, alpha: float = 1.0) -> list[int]:
    value = merge.quotas(
        tf.constant([probability], tf.float32),
        tf.constant([capacity], tf.int32),
        total,
        alpha,
    )
    return value.numpy()[0].tolist()


def _largest_remainder(probability, total: int, alpha: float) -> list[int]:
    """Seat by seat, the largest remainder first."""
    weight = np.maximum(np.array(probability, np.float32), np.float32(1e-9)) ** alpha
    share = total * weight / weight.sum()
    quota = np.floor(share)
    remainder = share - quota
    while quota.sum() < total:
        winner = remainder.argmax()
        quota[winner] += 1
        remainder[winner] = -1
    return quota.astype(int).tolist()


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(data=st.data(), total=st.integers(1, 60), alpha=st.floats(0, 2))
def test_quotas_fill_the_list_and_no_circle_overflows(data, total, alpha):
    beams = data.draw(st.integers(1, 6))
    row = st.lists(_PROBABILITY, min_size=beams, max_size=beams)
    probability = data.draw(row)
    room = st.lists(st.integers(0, 20), min_size=beams, max_size=beams)
    capacity = data.draw(room)
    quota = _quotas(probability, capacity, total, alpha)
    assert sum(quota) == min(total, sum(capacity))
    assert all(0 <= q <= c for q, c in zip(quota, capacity, strict=True))


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    seed=st.integers(0, 10_000),
    beams=st.integers(1, 8),
    total=st.integers(1, 50),
    alpha=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_without_a_full_circle_it_is_largest_remainder(seed, beams, total, alpha):
    probability = np.random.default_rng(seed).dirichlet(np.ones(beams))
    quota = _quotas(probability, [1000] * beams, total, alpha)
    assert quota == _largest_remainder(probability, total, alpha)


@pytest.mark.parametrize(
    ("probability", "capacity", "total", "wanted"),
    [
        ([0.5, 0.3, 0.2], [100, 100, 100], 10, [5, 3, 2]),
        ([0.9, 0.1], [3, 100], 10, [3, 7]),  # spills over
        ([0.8, 0.15, 0.05], [2, 3, 100], 10, [2, 3, 5]),  # and again
        ([0.5, 0.5], [1, 2], 10, [1, 2]),  # nothing left
        ([1.0, 0.0, 0.0], [4, 100, 100], 10, [4, 3, 3]),  # no probability
        ([1.0, 0.0], [100, 100], 10, [10, 0]),
        ([0.0, 0.0], [10, 10], 6, [3, 3]),
        ([0.7, 0.3], [0, 5], 4, [0, 4]),  # an empty circle
        ([0.7, 0.3], [0, 0], 4, [0, 0]),
    ],
)
def test_quotas_by_hand(probability, capacity, total, wanted):
    assert _quotas(probability, capacity, total) == wanted


def test_alpha_zero_gives_equal_shares():
    assert _quotas([0.97, 0.02, 0.01], [100] * 3, 9, alpha=0.0) == [3, 3, 3]


def _found(batch: int, beams: int, width: int, seed: int = 0):
    """Candidates of disjoint circles, best first, some of them cut short."""
    rng = np.random.default_rng(seed)
    places = np.stack(
        [rng.permutation(beams * width).reshape(beams, width) for _ in range(batch)]
    )
    scores = -np.sort(-rng.normal(size=places.shape), axis=-1)
    exists = np.arange(width) < rng.integers(0, width + 1, (batch, beams, 1))
    normalizer = rng.normal(size=(batch, beams)) + 2
    return circle_search.Candidates(
        tf.constant(np.where(exists, places, -1), tf.int32),
        tf.constant(np.where(exists, scores, -np.inf), tf.float32),
        tf.constant(normalizer, tf.float32),
    )


@pytest.mark.parametrize("results", [1, 5, 12, 40])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_by_quota_gives_every_interest_its_best(results, alpha):
    found = _found(8, 4, 7, seed=results)
    probability = np.random.default_rng(1).dirichlet(np.ones(4), 8)
    probability = tf.constant(probability, tf.float32)
    merged = merge.by_quota(found, probability, results, alpha)
    capacity = (found.places.numpy() >= 0).sum(axis=-1)
    quota = merge.quotas(probability, capacity, results, alpha).numpy()
    for user in range(8):
        places = merged.places[user].numpy()
        interest = merged.interest[user].numpy()
        real = places >= 0
        assert real.sum() == min(results, capacity[user].sum())
        assert len(set(places[real])) == real.sum()
        assert not real[real.sum() :].any()  # padding stands at the end
        assert (interest[~real] == -1).all()
        for beam in range(4):
            best = found.places[user, beam].numpy()[: quota[user, beam]]
            assert places[interest == beam].tolist() == best.tolist()


def test_prefixes_of_the_quota_merge_follow_the_quotas():
    places = tf.reshape(tf.range(60), [1, 2, 30])
    scores = tf.zeros([1, 2, 30])
    found = circle_search.Candidates(places, scores, tf.zeros([1, 2]))
    merged = merge.by_quota(found, tf.constant([[0.75, 0.25]]), 20, 1.0)
    interest = merged.interest[0].numpy()
    for length in range(1, 21):
        assert abs((interest[:length] == 0).sum() - 0.75 * length) <= 1


@pytest.mark.parametrize("results", [1, 6, 28, 50])
def test_by_probability_ranks_by_the_joint_probability(results):
    found = _found(6, 4, 7, seed=results)
    log_circle = np.log(np.random.default_rng(2).dirichlet(np.ones(4), 6))
    merged = merge.by_probability(found, tf.constant(log_circle, tf.float32), results)
    for user in range(6):
        joint = {}
        for beam in range(4):
            normalizer = np.exp(found.log_normalizer[user, beam].numpy())
            scores = found.scores[user, beam].numpy()
            for place, score in zip(
                found.places[user, beam].numpy(), scores, strict=True
            ):
                if place >= 0:
                    inside = np.exp(score) / normalizer  # P(i | c)
                    joint[place] = (np.exp(log_circle[user, beam]) * inside, beam)
        ranked = sorted(joint, key=lambda place: -joint[place][0])[:results]
        missing = results - len(ranked)
        assert merged.places[user].numpy().tolist() == ranked + missing * [-1]
        beams = [joint[place][1] for place in ranked] + missing * [-1]
        assert merged.interest[user].numpy().tolist() == beams
        logs = [np.log(joint[place][0]) for place in ranked] + missing * [-np.inf]
        np.testing.assert_allclose(merged.scores[user], logs, rtol=1e-4, atol=1e-4)
