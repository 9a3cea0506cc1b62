import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.models import generator, merge, recommender, single_vector, towers
from tfrs_himirec.schema import catalog as catalog_schema
from tfrs_himirec.tree import kmeans

ITEMS = 70
RUN = config.Run.model_validate(
    {
        "encoder": {"dim": 8, "layers": 1, "short_term": 6, "long_term": 3},
        "towers": {"split_history": 4},
        "recommend": {"beams": 3, "results": 10, "popular": ITEMS},
    }
)


def _catalog(order: np.ndarray, embedding: np.ndarray) -> catalog_schema.Catalog:
    return catalog_schema.Catalog(
        item_ids=1000 + order,
        rows=order,
        titles=np.full(ITEMS, "", object),
        tags=[[]] * ITEMS,
        counts=np.random.default_rng(1).permutation(ITEMS),
        embedding=embedding[order],
    )


def _recommender(run: config.Run) -> recommender.Recommender:
    """Random weights everywhere, so that circles and towers matter."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(ITEMS, 5)).astype(np.float32)
    tree, order = kmeans.build_tree(embedding, config.Tree(k=3, c=8))
    history_encoder = single_vector.make_encoder(run.encoder, ITEMS)
    stage1 = generator.Generator(run.generator, history_encoder, 3, tree, order)
    stage1.decoder.prior.assign(rng.normal(size=stage1.decoder.prior.shape))
    stage2 = towers.Towers(
        run.towers,
        tree,
        order,
        embedding[order],
        stage1.encoder,
        3,
        rng.normal(size=(ITEMS, 8)).astype(np.float32),
    )
    for tower in (stage2.user_tower, stage2.item_tower):
        weights = [w + 0.3 * rng.normal(size=w.shape) for w in tower.get_weights()]
        tower.set_weights(weights)
    catalog = _catalog(order, embedding)
    return recommender.Recommender(run, tree, catalog, stage1, stage2)


@pytest.fixture(scope="module")
def model() -> recommender.Recommender:
    return _recommender(RUN)


@pytest.fixture(scope="module")
def rows() -> tf.Tensor:
    """Histories of many lengths, one of them empty."""
    rng = np.random.default_rng(4)
    rows = rng.integers(0, ITEMS, (7, 20))
    sizes = np.array([20, 0, 1, 5, 9, 12, 6])[:, None]
    return tf.constant(np.where(np.arange(20) < sizes, rows, -1), tf.int32)


NOBODY = tf.fill([7, 1], -1)


def _places_of(model, rows) -> list[set[int]]:
    place = model.constants.place_of_row.numpy()
    return [{int(place[row]) for row in user if row >= 0} for user in rows.numpy()]


@pytest.mark.parametrize("merge_by", ["joint", "quota"])
@pytest.mark.parametrize(("beams", "results"), [(1, 5), (3, 10), (3, 40), (20, 30)])
def test_lists_are_full_distinct_and_without_excluded(
    model, rows, merge_by, beams, results
):
    excluded = np.random.default_rng(5).integers(-1, ITEMS, (7, 25), np.int32)
    answer = model.recommend(rows, excluded, beams, results, merge_by)
    assert answer.places.shape == answer.scores.shape == (7, results)
    assert answer.nodes.shape == answer.probability.shape == (7, beams)
    for user in range(7):
        places = answer.places[user].numpy().tolist()
        assert len(set(places)) == results
        assert min(places) >= 0
        assert not set(places) & set(excluded[user].tolist())


@pytest.mark.parametrize("merge_by", ["joint", "quota"])
def test_interest_names_a_circle_that_holds_the_item(model, rows, merge_by):
    answer = model.recommend(rows, NOBODY, 3, 40, merge_by)
    start, end = model.tree.start, model.tree.end
    for user, slot in np.ndindex(7, 40):
        place = int(answer.places[user, slot])
        beam = int(answer.interest[user, slot])
        nodes = answer.nodes[user].numpy()
        holds = [node >= 0 and start[node] <= place < end[node] for node in nodes]
        assert holds[beam] if beam >= 0 else not any(holds)


@pytest.mark.parametrize("merge_by", ["joint", "quota"])
def test_candidates_are_what_the_circles_offered_to_the_merge(model, rows, merge_by):
    answer = model.recommend(rows, NOBODY, 3, 40, merge_by)
    assert answer.candidates.shape == (7, 3, 40)
    for user in range(7):
        listed, interest = answer.places[user].numpy(), answer.interest[user].numpy()
        for beam, node in enumerate(answer.nodes[user].numpy()):
            offered = answer.candidates[user, beam].numpy()
            offered = offered[offered >= 0].tolist()
            circle = range(model.tree.start[node], model.tree.end[node])
            assert set(offered) <= set(circle)
            if user != 1:  # 1 is cold: nothing is searched
                taken = listed[interest == beam].tolist()
                assert taken == offered[: len(taken)]


@pytest.mark.parametrize("merge_by", ["joint", "quota"])
def test_more_results_than_items_are_padded(model, rows, merge_by):
    excluded = tf.repeat(tf.range(5)[None], 7, axis=0)
    answer = model.recommend(rows, excluded, 3, ITEMS + 10, merge_by)
    for places in answer.places.numpy():
        assert sorted(places[:-15]) == list(range(5, ITEMS))
        assert (places[-15:] == -1).all()


def test_missing_places_are_filled_by_popularity_below_all_others(model, rows):
    excluded = tf.repeat(model.popular[None, :4], 7, axis=0)
    answer = model.recommend(rows, excluded, 1, 40, "joint")
    for user in range(7):
        places, scores = answer.places[user].numpy(), answer.scores[user].numpy()
        assert (np.diff(scores) <= 0).all()
        node = int(answer.nodes[user, 0])
        size = int(model.tree.end[node] - model.tree.start[node])
        inside = range(model.tree.start[node], model.tree.end[node])
        denied = set(excluded[user].numpy().tolist())
        found = 0 if user == 1 else size - len(denied & set(inside))  # 1 is cold
        taken = set(places[:found].tolist()) | denied
        assert set(places[:found].tolist()) <= set(inside)
        popular = [p for p in model.popular.numpy().tolist() if p not in taken]
        assert places[found:].tolist() == popular[: 40 - found]


@pytest.mark.parametrize("merge_by", ["joint", "quota"])
def test_a_cold_user_gets_the_popular_items_and_circles(model, rows, merge_by):
    answer = model.recommend(rows, NOBODY, 3, 10, merge_by)
    assert model.is_cold(rows).numpy().tolist() == [u == 1 for u in range(7)]
    assert answer.places[1].numpy().tolist() == model.popular[:10].numpy().tolist()
    tree, counts = model.tree, np.random.default_rng(1).permutation(ITEMS)
    mass = {
        leaf: counts[tree.start[leaf] : tree.end[leaf]].sum() for leaf in tree.leaves
    }
    best = sorted(mass, key=lambda leaf: -mass[leaf])[:3]
    assert answer.nodes[1].numpy().tolist() == best
    total = sum(mass.values()) + len(mass)
    wanted = [(mass[leaf] + 1) / total for leaf in best]
    np.testing.assert_allclose(answer.probability[1], wanted, rtol=1e-5)


def test_popular_items_of_more_beams_than_leaves(model, rows):
    beams = len(model.tree.leaves) + 4
    answer = model.recommend(rows, NOBODY, beams, 10, "joint")
    assert (answer.nodes[1].numpy()[-4:] == -1).all()
    assert (answer.probability[1].numpy()[-4:] == 0).all()
    np.testing.assert_allclose(answer.probability.numpy().sum(axis=1), 1, rtol=1e-4)


def test_split_against_plain_python(model, rows):
    rng = np.random.default_rng(6)
    nodes = rng.integers(-1, model.tree.nodes, (7, 9), np.int32)
    nodes[:, 0] = 0
    place = model.constants.place_of_row.numpy()
    found = model.split(rows, tf.constant(nodes)).numpy()
    assert found.shape == (7, 9, 4)
    for user, beam in np.ndindex(7, 9):
        node = nodes[user, beam]
        inside = range(model.tree.start[node], model.tree.end[node])
        inside = inside if node >= 0 else range(0)
        history = [row for row in rows[user].numpy().tolist() if row >= 0]
        wanted = [row for row in reversed(history) if place[row] in inside][:4]
        assert found[user, beam].tolist() == wanted + [-1] * (4 - len(wanted))


def test_a_unified_history_is_the_newest_of_all_circles(model, rows, monkeypatch):
    towers_settings = model.run.towers.model_copy(update={"history": "unified"})
    run = model.run.model_copy(update={"towers": towers_settings})
    monkeypatch.setattr(model, "run", run)
    found = model.split(rows, tf.constant([[1, 2]] * 7)).numpy()
    for user in range(7):
        history = [row for row in rows[user].numpy().tolist() if row >= 0]
        wanted = history[::-1][:4]
        for beam in range(2):
            assert found[user, beam].tolist() == wanted + [-1] * (4 - len(wanted))


def test_user_vectors_read_the_newest_events_of_all(model, rows):
    """A change of the newest events alone moves the relations' part."""
    nodes = tf.constant([[1, 2]] * 7)
    split = model.split(rows, nodes)
    shared = model.encode(rows).shared
    before = model.user_vectors(rows, shared, nodes, split).numpy()
    first = tf.where(rows[:, :1] >= 0, (rows[:, :1] + 1) % ITEMS, -1)
    older = tf.concat([first, rows[:, 1:]], axis=1)
    after = model.user_vectors(older, shared, nodes, split).numpy()
    moved = np.abs(after - before).max(axis=(1, 2)) > 1e-6
    known = (rows.numpy() >= 0).sum(axis=1)
    recent = model.run.towers.recent
    assert moved.tolist() == [0 < count <= recent for count in known]
    width = model.run.encoder.dim
    np.testing.assert_allclose(after[..., :width], before[..., :width], atol=1e-6)


def test_joint_merge_of_all_leaves_is_a_ranking_of_the_whole_library(
    model, rows, monkeypatch
):
    complete = model.run.recommend.model_copy(update={"circles": "complete"})
    run = model.run.model_copy(update={"recommend": complete})
    monkeypatch.setattr(model, "run", run)
    tree = model.tree
    beams = len(tree.leaves)
    answer = model.recommend(rows, NOBODY, beams, ITEMS, "joint")
    context = model.encode(rows)
    interests = model.mine(context, beams)
    queries = model.user_vectors(
        rows, context.shared, interests.nodes, model.split(rows, interests.nodes)
    ).numpy()
    vectors = recommender.item_vectors(model.towers, ITEMS, batch=16)
    for user in (0, 2, 3, 4, 5, 6):
        joint = np.full(ITEMS, -np.inf)
        for beam, node in enumerate(interests.nodes[user].numpy()):
            circle = slice(tree.start[node], tree.end[node])
            scores = (vectors[circle] @ queries[user, beam]).astype(float)
            inside = scores - np.log(np.exp(scores).sum())
            joint[circle] = float(interests.log_probability[user, beam]) + inside
        assert np.exp(joint).sum() == pytest.approx(1, rel=1e-3)
        found = answer.places[user].numpy()
        assert sorted(found) == list(range(ITEMS))
        np.testing.assert_allclose(answer.scores[user], joint[found], atol=1e-3)
        np.testing.assert_allclose(joint[found], -np.sort(-joint), atol=1e-3)


def test_quota_merge_keeps_the_quotas(model, rows):
    answer = model.recommend(rows, NOBODY, 3, 12, "quota")
    size = (model.tree.end - model.tree.start)[answer.nodes.numpy()]
    quota = merge.quotas(answer.probability, tf.constant(size, tf.int32), 12, 1.0)
    for user in (0, 2, 3, 4, 5, 6):
        interest = answer.interest[user].numpy()
        count = np.bincount(interest[interest >= 0], minlength=3)
        assert (count >= quota[user].numpy()).all()  # more only where filled
        if size[user].sum() >= 12:
            assert count.tolist() == quota[user].numpy().tolist()


def test_adaptive_circles_do_not_return_an_item_twice(rows):
    run = RUN.model_copy(
        update={"generator": RUN.generator.model_copy(update={"stop": "adaptive"})}
    )
    model = _recommender(run)
    answer = model.recommend(rows, NOBODY, 15, 30, "joint")
    nodes = answer.nodes.numpy()
    assert (~model.tree.is_leaf[nodes[nodes >= 0]]).any()
    for places in answer.places.numpy():
        assert len(set(places)) == 30


def test_a_graph_of_unknown_shapes_gives_the_same(model, rows):
    spec = tf.TensorSpec([None, None], tf.int32)
    graph = tf.function(
        lambda rows, excluded: model.recommend(rows, excluded, 3, 10),
        input_signature=[spec, spec],
    )
    wanted = model.recommend(rows, NOBODY, 3, 10)
    found = graph(rows, NOBODY)
    np.testing.assert_array_equal(found.places, wanted.places)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-4)
    one = graph(rows[4:5, :9], NOBODY[:1])  # alone and without the padding
    np.testing.assert_array_equal(one.places[0], wanted.places[4])
