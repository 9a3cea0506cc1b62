import numpy as np
import pytest

from tfrs_himirec.evaluation import diagnostics, metrics
from tfrs_himirec.models import recommender

TARGETS = [np.array([4, 5, 6, 7]), np.array([0, 7])]
HISTORIES = [np.array([1, 2, 7]), np.array([3])]


def _answer(places, nodes, probability, candidates) -> recommender.Recommendation:
    return recommender.Recommendation(
        places=np.array(places),
        scores=None,
        nodes=np.array(nodes),
        probability=np.array(probability, np.float32),
        interest=None,
        candidates=np.array(candidates),
    )


@pytest.fixture
def answer() -> recommender.Recommendation:
    """User 0: a circle inside another, one popular item; user 1: only one circle."""
    return _answer(
        places=[[5, 6, 7], [3, 1, 2]],
        nodes=[[2, 3], [1, -1]],
        probability=[[0.5, 0.25], [0.75, 0]],
        candidates=[[[6, -1, -1], [5, 4, -1]], [[3, 1, 2], [-1, -1, -1]]],
    )


def test_events_by_hand(answer, tree):
    events = diagnostics.events_of(answer, TARGETS, tree)
    nowhere = diagnostics.NOWHERE
    assert events.user.tolist() == [0, 0, 0, 0, 1, 1]
    assert events.weight.tolist() == [1 / 8] * 4 + [1 / 4] * 2
    assert events.depth.tolist() == [2, 2, 1, 0, 1, 0]
    assert events.rank.tolist() == [nowhere, 0, 1, 2, nowhere, nowhere]
    assert events.rank_in_circle.tolist() == [1, 0, 0, nowhere, nowhere, nowhere]


def test_losses_by_hand(answer, tree):
    events = diagnostics.events_of(answer, TARGETS, tree)
    assert diagnostics.losses(events, at=(1, 3)) == pytest.approx(
        {
            "ceiling": 5 / 8,  # 4, 5 and 6 of user 0, 0 of user 1
            "recall@1": 1 / 8,
            "recall_in_right_circle@1": 1 / 5,
            "found_outside@1": 0,
            "lost_to_quota@1": 1 / 8,  # 6 is the first of its circle
            "lost_in_circle@1": 1 / 8 + 1 / 4,
            "lost_outside@1": 1 / 8 + 1 / 4,
            "recall@3": 3 / 8,
            "recall_in_right_circle@3": 2 / 5,
            "found_outside@3": 1 / 8,  # 7 of user 0
            "lost_to_quota@3": 1 / 8,  # 4 is the second of its circle
            "lost_in_circle@3": 1 / 4,  # 0 is the last of its circle
            "lost_outside@3": 1 / 4,
        }
    )


def test_groups_by_hand(answer, tree):
    values = diagnostics.diagnose(answer, TARGETS, HISTORIES, tree, at=(3,))

    def group(name, number):
        return {key: entry[number] for key, entry in values[name].items()}

    def recall(name):
        return group(name, "recall@3")

    assert group("by_depth", "events") == {"0": 2, "1": 2, "2": 2}
    assert group("by_depth", "ceiling") == {"0": 0, "1": 1, "2": 1}
    assert recall("by_depth") == pytest.approx({"0": 1 / 3, "1": 1 / 3, "2": 1 / 2})
    # Leaves hold 1, 1, 2 and 4 items: quartiles 1, 1 and 2.
    assert group("by_leaf_size", "events") == {"<=1": 3, "2": 2, ">2": 1}
    assert recall("by_leaf_size") == pytest.approx({"<=1": 1 / 2, "2": 1 / 2, ">2": 0})
    assert group("by_history_length", "events") == {"<=20": 6}
    assert recall("by_history_length") == pytest.approx({"<=20": 3 / 8})
    assert values["median_history_length"] == 2
    assert group("by_activity", "events") == {"light": 2, "heavy": 4}
    assert recall("by_activity") == {"light": 0, "heavy": 3 / 4}
    assert values["seen_before"] == pytest.approx(1 / 8)  # 7 of user 0


@pytest.mark.parametrize(
    ("length", "wanted"),
    [
        (1, "<=20"),
        (20, "<=20"),
        (21, "21-50"),
        (100, "51-100"),
        (200, "101-200"),
        (201, ">200"),
    ],
)
def test_edges_of_history_lengths(answer, tree, length, wanted):
    histories = [np.zeros(length, int)] * 2
    values = diagnostics.diagnose(answer, TARGETS, histories, tree, at=(3,))
    assert list(values["by_history_length"]) == [wanted]
    assert list(values["by_activity"]) == ["light"]  # nobody is above the median


def test_generated_by_hand(answer, tree):
    values = diagnostics.generated(answer.nodes, answer.probability, tree)
    assert values == {
        "generated_length": pytest.approx({"1": 2 / 3, "2": 1 / 3}),
        "interests_per_user": 1.5,
        "probability_by_rank": [0.625, 0.125],
    }


def test_nobody_has_a_circle(tree):
    nobody = _answer([[7, -1]], [[-1]], [[0]], [[[-1, -1]]])
    values = diagnostics.diagnose(nobody, TARGETS[1:], HISTORIES[1:], tree, at=(2,))
    assert values["ceiling"] == values["recall_in_right_circle@2"] == 0
    assert values["found_outside@2"] == values["recall@2"] == 1 / 2
    assert values["generated_length"] == {"1": 0, "2": 0}


def _random(seed: int, tree):
    """An answer of 50 users in no particular order, targets and histories."""
    rng = np.random.default_rng(seed)
    lists = np.stack([rng.permutation(8)[:5] for _ in range(50)])
    nodes = np.stack([rng.permutation(np.arange(1, 6))[:3] for _ in range(50)])
    nodes[rng.random(nodes.shape) < 0.3] = -1
    candidates = np.full((50, 3, 5), -1)
    for user, beam in zip(*np.nonzero(nodes >= 0), strict=True):
        circle = np.arange(tree.start[nodes[user, beam]], tree.end[nodes[user, beam]])
        offered = rng.permutation(circle)[: rng.integers(0, 6)]
        candidates[user, beam, : len(offered)] = offered
    targets = [rng.integers(0, 8, rng.integers(1, 6)) for _ in range(50)]
    histories = [np.zeros(n, int) for n in rng.integers(1, 300, 50)]
    return _answer(lists, nodes, rng.random((50, 3)), candidates), targets, histories


def _fate(place: int, user: int, answer, tree, m: int) -> str:
    """What became of one target event, straight from the definitions."""
    nodes = [n for n in answer.nodes[user] if n >= 0]
    inside = any(tree.start[n] <= place < tree.end[n] for n in nodes)
    if place in answer.places[user, :m]:
        return "found_inside" if inside else "found_outside"
    if not inside:
        return "lost_outside"
    offered = any(place in row[:m] for row in answer.candidates[user])
    return "lost_to_quota" if offered else "lost_in_circle"


@pytest.mark.parametrize("seed", range(5))
def test_every_event_has_one_fate(tree, seed):
    answer, targets, histories = _random(seed, tree)
    at = (1, 3, 5)
    values = diagnostics.diagnose(answer, targets, histories, tree, at)
    recall = metrics.per_user(answer.places, targets, at)
    for m in at:
        share: dict[str, float] = {}
        for user, wanted in enumerate(targets):
            for place in wanted:
                fate = _fate(place, user, answer, tree, m)
                share[fate] = share.get(fate, 0) + 1 / (50 * len(wanted))
        right = values["ceiling"] * values[f"recall_in_right_circle@{m}"]
        assert right == pytest.approx(share.pop("found_inside"))
        found = right + values[f"found_outside@{m}"]
        assert found == pytest.approx(recall[f"recall@{m}"].mean())
        assert found == pytest.approx(values[f"recall@{m}"])
        for fate, expected in share.items():
            assert values[f"{fate}@{m}"] == pytest.approx(expected)
        lost = [values[f"lost_{w}@{m}"] for w in ("to_quota", "in_circle", "outside")]
        assert found + sum(lost) == pytest.approx(1)


def test_groups_add_up_to_the_whole(tree):
    answer, targets, histories = _random(9, tree)
    targets = [wanted[:1] for wanted in targets]  # every event weighs the same
    values = diagnostics.diagnose(answer, targets, histories, tree, at=(3,))
    for name in ("by_leaf_size", "by_history_length", "by_activity", "by_depth"):
        groups = values[name].values()
        assert sum(group["events"] for group in groups) == 50
        for measure in ("ceiling", "recall@3"):
            total = sum(group["events"] * group[measure] for group in groups)
            assert total / 50 == pytest.approx(values[measure])
