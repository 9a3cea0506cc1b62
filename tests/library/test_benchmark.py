import dataclasses
import itertools

import numpy as np
import pytest

from tfrs_himirec import config, errors
from tfrs_himirec.benchmark import (
    contenders,
    jobs,
    report,
    rows,
    settings,
    whole_library,
)
from tfrs_himirec.evaluation import bootstrap, validation
from tfrs_himirec.models import circle_search
from tfrs_himirec.tree import kmeans


def test_p_value_of_a_clear_and_of_no_difference():
    rng = np.random.default_rng(0)
    clear = rng.normal(0.3, 1.0, 500)
    assert bootstrap.paired_p_value(clear, 2000) == pytest.approx(1 / 2000)
    assert bootstrap.paired_p_value(-clear, 2000) == pytest.approx(1 / 2000)
    none = rng.normal(0.0, 1.0, 500)
    assert bootstrap.paired_p_value(none - none.mean(), 2000) > 0.9
    assert bootstrap.paired_p_value(np.zeros(10), 200) == 1


def test_p_value_is_that_of_a_t_test_for_many_users():
    rng = np.random.default_rng(1)
    difference = rng.normal(0.0, 1.0, 400)
    difference = (difference - difference.mean()) / difference.std()
    difference += 2.0 / np.sqrt(400)  # two standard errors
    assert bootstrap.paired_p_value(difference, 20_000) == pytest.approx(
        0.0455, abs=0.012
    )


def test_whole_library_index_against_plain_numpy():
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(40, 5)).astype(np.float32)
    tree, order = kmeans.build_tree(vectors, config.Tree(k=3, c=6))
    vectors = vectors[order]
    index = whole_library.WholeLibraryIndex(vectors, tree.start, tree.end)
    queries = rng.normal(size=(2, 3, 5)).astype(np.float32)
    nodes = np.array([[1, 2, 5], [3, -1, 1]], np.int32)
    excluded = np.array([[0, 7], [-1, 3]], np.int32)
    seen = circle_search.Seen(np.array([[4, -1], [9, 8]], np.int32), np.float32(-2))
    found = index(queries, nodes, excluded, 40, seen)
    for user in range(2):
        scores = queries[user] @ vectors.T
        scores[:, seen.places[user][seen.places[user] >= 0]] -= 2
        normalizer = np.log(np.exp(scores).sum(axis=1))
        share = scores - normalizer[:, None]
        share[nodes[user] < 0] = -np.inf
        owner = share.argmax(axis=0)
        for beam in range(3):
            mine = [
                p for p in range(40) if owner[p] == beam and p not in excluded[user]
            ]
            mine = sorted(mine, key=lambda p: -scores[beam, p])
            mine = mine if nodes[user, beam] >= 0 else []
            places = found.places[user, beam].numpy().tolist()
            assert places == mine + [-1] * (40 - len(mine))
        np.testing.assert_allclose(found.log_normalizer[user], normalizer, rtol=1e-4)


def test_tuning_keeps_the_best_and_tries_nothing_twice(tmp_path, monkeypatch):
    value = {(1, 1): 0.1, (2, 1): 0.4, (3, 1): 0.3, (2, 5): 0.2, (2, 9): 0.5}
    tried = []

    class Measure:
        def __init__(self, *_):
            pass

        def of_scores(self, model):
            return value[model]

    def fit(name, cell, setting):
        tried.append((setting["a"], setting["b"]))
        return contenders.Fitted(tried[-1], 0, 0.0, 0)

    monkeypatch.setattr(validation, "Validation", Measure)
    monkeypatch.setattr(contenders, "fit", fit)
    cell = type("Cell", (), {"run": None, "prepared": None})
    search = {"a": (1, 2, 3), "b": (1, 5, 9)}
    arguments = ("markov", cell, {"c": 7}, search, tmp_path / "markov.json")
    assert contenders.tune(*arguments) == {"a": 2, "b": 9, "c": 7}
    assert sorted(tried) == sorted(value)
    assert contenders.tune(*arguments) == {"a": 2, "b": 9, "c": 7}
    assert len(tried) == len(value)


def _row(model: str, recall: np.ndarray, **changes) -> rows.Row:
    per_user = {"recall@20": recall, "hit_rate@20": (recall > 0).astype(float)}
    row = rows.Row(
        model=model,
        beams=None,
        merge=None,
        variant="",
        setting={"window": 5},
        parameters=10,
        train_seconds=2.0,
        events_per_second=50.0,
        per_user={"excluded": per_user, "kept": per_user},
        of_lists={"excluded": {"coverage@20": 0.5}, "kept": {"coverage@20": 0.5}},
    )
    return dataclasses.replace(row, **changes)


def test_a_row_survives_a_save(tmp_path):
    row = _row("himirec", np.array([0.1, 0.0]), beams=6, merge="joint")
    row.save(tmp_path)
    assert row.key == "himirec-joint-6beams"
    again = rows.load(tmp_path / f"{row.key}.json")
    for seen, name in itertools.product(rows.SEEN, ("recall@20", "hit_rate@20")):
        np.testing.assert_array_equal(
            again.per_user[seen][name], row.per_user[seen][name]
        )
    assert dataclasses.replace(again, per_user={}) == dataclasses.replace(
        row, per_user={}
    )


class _Work(jobs.Work):
    """Rows without any training."""

    def rows(self, protocol, seed):
        rng = np.random.default_rng(seed)
        base = rng.uniform(0.2, 0.4, 50)
        found = [
            _row("himirec", base, beams=6, merge="joint"),
            _row("markov", base - 0.1),
        ]
        if seed == 8:
            found.append(_row("ease", base))
        return found if protocol == "A" else []

    def cell(self, protocol, seed):
        names = ("users", "items", "interactions", "leaf_circles")
        counts = type("Counts", (), dict.fromkeys(names, 3))
        manifest = type("Manifest", (), {"counts": counts})
        prepared = type("Prepared", (), {"manifest": manifest})
        return type("Cell", (), {"prepared": prepared})

    def spent(self, protocol, seed):
        return {}


@pytest.fixture
def work(tmp_path):
    values = {"config": "-", "name": "toy", "seeds": [7, 8], "samples": 500}
    benchmark = settings.Benchmark(**values, skip={"mind": "too slow"})
    return _Work(benchmark, config.Run(), tmp_path)


def test_the_table_has_mean_sd_and_paired_p_values(work):
    result = report.collect(work)
    assert result["schema"] == 1
    measured = [row for row in result["rows"] if "skipped" not in row]
    names = [(row["model"], row["seen"], row["seeds"]) for row in measured]
    assert names[:2] == [("markov", "excluded", [7, 8]), ("markov", "kept", [7, 8])]
    assert ("ease", "excluded", [8]) in names
    markov = measured[0]
    means = [row.per_user["kept"]["recall@20"].mean() for row in _pair(work, 1)]
    assert markov["recall@20"]["mean"] == pytest.approx(np.mean(means))
    assert markov["recall@20"]["sd"] == pytest.approx(np.std(means, ddof=1))
    assert markov["p_value_vs_himirec6"] == pytest.approx(1 / 500)
    ease = next(row for row in measured if row["model"] == "ease")
    assert ease["p_value_vs_himirec6"] == 1
    assert ease["recall@20"]["sd"] is None
    himirec = next(row for row in measured if row["model"] == "himirec")
    assert himirec["p_value_vs_himirec6"] is None
    assert {"model": "mind", "skipped": "too slow"} in result["rows"]


def _pair(work, place: int) -> list[rows.Row]:
    return [work.rows("A", seed)[place] for seed in (7, 8)]


def test_markdown_and_plot_show_every_row(work, tmp_path):
    result = report.collect(work)
    text = report.markdown(result)
    assert text.count("himirec, 6 beams, joint") == 2  # seen excluded and kept
    assert "mind: not measured, too slow" in text
    assert " ± " in text
    report.plot(result, tmp_path / "toy.svg")
    drawn = (tmp_path / "toy.svg").read_text()
    assert drawn.startswith("<?xml")
    assert "himirec, 6 beams, joint" in drawn


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name: x\n", "config"),
        ("config: run.yaml\nname: x\nmodels: [bert]\n", "bert"),
        ("config: run.yaml\nname: x\nvariants: [blue]\n", "blue"),
        ("config: run.yaml\nname: x\nsearch: {bert: {a: [1]}}\n", "bert"),
        ("config: nowhere.yaml\nname: x\n", "nowhere.yaml"),
        ("config: [\n", "not valid YAML"),
    ],
)
def test_bad_benchmark_files_are_refused(tmp_path, text, part):
    path = tmp_path / "b.yaml"
    path.write_text(text)
    (tmp_path / "run.yaml").write_text("")
    with pytest.raises(errors.HimirecError, match=part):
        settings.load(path)


def test_every_model_has_a_fit_and_a_range():
    others = set(settings.MODELS) - {"himirec"}
    assert set(contenders.SEARCH) == others == set(contenders._FIT)
