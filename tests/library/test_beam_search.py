import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.models import beam_search, generator, single_vector
from tfrs_himirec.tree import circle_tree, kmeans


def _tree(items: int, k: int, c: int, seed: int) -> circle_tree.CircleTree:
    """Skewed vectors, so that leaves lie at different depths."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(items, 3)) ** 3
    return kmeans.build_tree(vectors, config.Tree(k=k, c=c, seed=seed))[0]


TREES = [_tree(40, 3, 4, 0), _tree(30, 2, 3, 1), _tree(60, 5, 6, 2), _tree(4, 4, 9, 3)]


def _may(tree, node: int, inner_stop: bool) -> np.ndarray:
    """bool `[k + 1]`: the choices of the paper, written down once more."""
    stop = tree.is_leaf[node] or (inner_stop and node != circle_tree.ROOT)
    return np.append(tree.children[node] >= 0, stop)


def _log_table(tree, inner_stop: bool, seed: int = 0) -> np.ndarray:
    """Random log-probabilities of the choices in every circle."""
    raw = np.random.default_rng(seed).normal(size=(tree.nodes, tree.k + 1), scale=2)
    for node in range(tree.nodes):
        raw[node, ~_may(tree, node, inner_stop)] = -np.inf
    table = raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))
    return np.maximum(table, -1e9).astype(np.float32)


def _expand(tree, table, inner_stop, node, log) -> list[tuple[int, float, bool]]:
    """What a path that is in `node` may become: circle, log-probability, done."""
    paths = []
    for choice in np.flatnonzero(_may(tree, node, inner_stop)):
        stop = choice == tree.k
        child = node if stop else tree.children[node, choice]
        done = bool(stop or tree.is_leaf[child])
        paths.append((int(child), float(log + table[node, choice]), done))
    return paths


def _enumerate(tree, table, inner_stop) -> dict[int, float]:
    """Log-probability of every complete path, by the circle where it stops."""
    complete, waiting = {}, [(0, 0.0, False)]
    while waiting:
        node, log, done = waiting.pop()
        if done:
            assert node not in complete
            complete[node] = log
        else:
            waiting += _expand(tree, table, inner_stop, node, log)
    return complete


def _naive_beams(tree, table, inner_stop, beams) -> list[tuple[int, float]]:
    paths = [(0, 0.0, False)]
    for _ in range(tree.depth):
        grown = [p for p in paths if p[2]]
        for node, log, done in paths:
            if not done:
                grown += _expand(tree, table, inner_stop, node, log)
        paths = sorted(grown, key=lambda p: -p[1])[:beams]
    return [(node, log) for node, log, _ in paths]


def _search(
    tree, table, inner_stop, beams, batch=2, circles="complete"
) -> beam_search.Interests:
    """Runs the search; the step also checks that numbers and circles agree."""

    def step(numbers, visited):
        numbers, visited = numbers.numpy(), visited.numpy()
        assert numbers.shape[2] + 1 == visited.shape[2]
        for user, beam in np.ndindex(batch, beams):
            for s, number in enumerate(numbers[user, beam]):
                before, after = visited[user, beam, s : s + 2]
                if _may(tree, before, inner_stop)[number]:  # else no such path
                    stays = number == tree.k
                    assert after == (before if stays else tree.children[before, number])
        return tf.constant(table[visited[..., -1]])

    tables = beam_search.tables(tree, inner_stop)
    users = tf.constant(batch)
    return beam_search.beam_search(step, tables, tree.depth, users, beams, circles)


def _prefixes(tree, table) -> dict[int, float]:
    """Probability of the path of every circle: the product along it."""
    found = {circle_tree.ROOT: 1.0}
    for node in range(1, tree.nodes):
        log = table[tree.parent[node], tree.number[node]]
        found[node] = found[tree.parent[node]] * float(np.exp(log))
    del found[circle_tree.ROOT]
    return found


def _compare(found: beam_search.Interests, wanted: list[tuple[int, float]], user=0):
    nodes, logs = found.nodes.numpy()[user], found.log_probability.numpy()[user]
    count = len(wanted)
    np.testing.assert_allclose(logs[:count], [log for _, log in wanted], rtol=1e-4)
    assert nodes[:count].tolist() == [node for node, _ in wanted]
    assert (nodes[count:] == -1).all()
    assert (logs[count:] == np.float32(beam_search.IMPOSSIBLE)).all()


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("inner_stop", [False, True])
def test_tables_permit_existing_children_and_stop(tree, inner_stop):
    tables = beam_search.tables(tree, inner_stop)
    for node in range(tree.nodes):
        wanted = _may(tree, node, inner_stop)
        assert tables.allowed[node].numpy().tolist() == wanted.tolist()
        assert tables.leaf[node].numpy() == tree.is_leaf[node]
        assert tables.children[node, -1] == (node if wanted[-1] else -1)


def test_the_trees_have_leaves_at_different_depths():
    levels = [set(tree.level[tree.leaves]) for tree in TREES]
    assert sum(len(found) > 1 for found in levels) >= 2


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("inner_stop", [False, True])
def test_enough_beams_enumerate_every_path(tree, inner_stop):
    table = _log_table(tree, inner_stop)
    paths = _enumerate(tree, table, inner_stop)
    assert len(paths) == (tree.nodes - 1 if inner_stop else len(tree.leaves))
    found = _search(tree, table, inner_stop, beams=len(paths) + 3)
    wanted = sorted(paths.items(), key=lambda p: -p[1])
    _compare(found, wanted, user=0)
    _compare(found, wanted, user=1)
    total = np.exp(found.log_probability.numpy()).sum(axis=1)
    np.testing.assert_allclose(total, 1, rtol=1e-5)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("inner_stop", [False, True])
@pytest.mark.parametrize("beams", [1, 2, 3, 5])
def test_fewer_beams_keep_the_best_of_every_step(tree, inner_stop, beams):
    table = _log_table(tree, inner_stop, seed=beams)
    found = _search(tree, table, inner_stop, beams)
    _compare(found, _naive_beams(tree, table, inner_stop, beams))


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize("stop", ["leaf", "adaptive"])
def test_generator_agrees_with_one_decoder_call_per_circle(stop):
    tree = TREES[0]
    keras.utils.set_random_seed(0)
    settings = config.Encoder(dim=8, layers=1, short_term=5, long_term=2)
    history_encoder = single_vector.make_encoder(settings, tree.items)
    model = generator.Generator(
        config.Generator(stop=stop),
        history_encoder,
        settings.long_term,
        tree,
        np.arange(tree.items)[::-1],
    )
    model.decoder.choice.assign(
        np.random.default_rng(1).normal(size=model.decoder.choice.shape)
    )
    model.decoder.prior.assign(np.random.default_rng(0).normal(size=(tree.nodes, 4)))
    rows = np.array([[-1, 3, 1, 4, 1, 5, -1], [-1, -1, 9, -1, -1, -1, -1]], np.int32)
    states = model(rows)
    last = [6, 3]  # one past the last known place
    beams = len(_enumerate(tree, _log_table(tree, True), True)) + 1
    found = model.interests(tf.constant(rows), states, beams)
    for user in range(2):
        table = np.zeros((tree.nodes, tree.k + 1), np.float32)
        for node in np.flatnonzero(~tree.is_leaf):
            visited = tree.ancestors[node][: tree.level[node] + 1]
            logs = model.path_log_probabilities(
                tf.constant(tree.number[visited[1:]][None, None], tf.int32),
                tf.constant(visited[None, None], tf.int32),
                states[user : user + 1],
                tf.constant([[last[user]]]),
                tf.constant(rows[user : user + 1]),
            )
            table[node] = logs[0, 0, -1]
        paths = _enumerate(tree, table, stop == "adaptive")
        _compare(found, sorted(paths.items(), key=lambda p: -p[1]), user)
    total = np.exp(found.log_probability.numpy()).sum(axis=1)
    np.testing.assert_allclose(total, 1, rtol=1e-4)


def test_a_graph_of_unknown_batch_gives_the_same():
    tree = TREES[1]
    table = _log_table(tree, True)
    tables = beam_search.tables(tree, True)

    @tf.function(input_signature=[tf.TensorSpec([None, tree.nodes, tree.k + 1])])
    def search(logs):
        def step(numbers, visited):
            return tf.gather(logs, visited[..., -1], batch_dims=1)

        return beam_search.beam_search(step, tables, tree.depth, tf.shape(logs)[0], 4)

    for batch in (1, 3):
        many = np.stack([_log_table(tree, True, seed) for seed in range(batch)])
        found = search(many)
        assert found.nodes.shape == (batch, 4)
        for user, table in enumerate(many):
            _compare(found, _naive_beams(tree, table, True, 4), user)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("inner_stop", [False, True])
@pytest.mark.parametrize("beams", [1, 2, 4, 7, 200])
def test_prefixes_are_the_most_probable_circles_of_any_level(tree, inner_stop, beams):
    table = _log_table(tree, inner_stop, seed=beams)
    wanted = _prefixes(tree, table)
    best = sorted(wanted, key=wanted.__getitem__, reverse=True)[:beams]
    found = _search(tree, table, inner_stop, beams, circles="prefixes")
    nodes = found.nodes.numpy()[1]
    assert sorted(nodes[nodes >= 0]) == sorted(best)
    exists = nodes >= 0
    np.testing.assert_allclose(
        np.exp(found.log_probability.numpy()[1][exists]),
        [wanted[node] for node in nodes[exists]],
        rtol=1e-3,
    )


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("beams", [1, 2, 4, 7, 200])
def test_a_cover_has_the_widest_circles_first(tree, beams):
    table = _log_table(tree, False, seed=beams)
    wanted = _prefixes(tree, table)
    nested = [node for node in wanted if tree.level[node] > 1]
    order = [
        *sorted(set(wanted) - set(nested), key=wanted.__getitem__, reverse=True),
        *sorted(nested, key=wanted.__getitem__, reverse=True),
    ]
    found = _search(tree, table, False, beams, circles="cover")
    nodes = found.nodes.numpy()[0]
    assert sorted(nodes[nodes >= 0]) == sorted(order[:beams])
    if beams >= tree.k:
        total = found.probability.numpy()[0].sum()
        assert total == pytest.approx(1, abs=1e-5)  # nothing is missed


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("beams", [2, 5, 9])
def test_an_interest_stands_for_what_no_interest_inside_it_takes(tree, beams):
    table = _log_table(tree, False, seed=beams)
    wanted = _prefixes(tree, table)
    found = _search(tree, table, False, beams, circles="prefixes")
    nodes, own = found.nodes.numpy()[0], found.probability.numpy()[0]
    chosen = {int(node) for node in nodes if node >= 0}
    for node, share in zip(nodes, own, strict=True):
        if node < 0:
            assert share == 0
            continue
        rest = wanted[node]
        for other in chosen - {node}:
            line = [n for n in tree.ancestors[other] if n in chosen and n != other]
            rest -= wanted[other] if line and line[-1] == node else 0
        assert share == pytest.approx(max(rest, 0), abs=1e-5)
    assert (np.diff(own) <= 1e-7).all()
    assert own.sum() <= 1 + 1e-5
