import dataclasses

import numpy as np
import pytest

from tfrs_himirec import errors, files
from tfrs_himirec.tree import circle_tree


def test_shape_of_the_tree(tree):
    assert (tree.nodes, tree.items, tree.depth) == (6, 8, 2)
    assert tree.children[0].tolist() == [1, 2, 5]
    assert tree.children[2].tolist() == [3, 4, -1]
    assert tree.level.tolist() == [0, 1, 1, 2, 2, 1]
    assert tree.leaves.tolist() == [1, 3, 4, 5]
    assert tree.leaf_of_place.tolist() == [1, 1, 1, 1, 3, 3, 4, 5]


def test_children_partition_the_range_of_their_parent(tree):
    for node in np.flatnonzero(~tree.is_leaf):
        children = tree.children[node][tree.children[node] >= 0]
        places = [p for c in children for p in range(tree.start[c], tree.end[c])]
        assert places == list(range(tree.start[node], tree.end[node]))


def test_paths_name_nodes(tree):
    assert tree.paths == ["", "0", "1", "1/0", "1/1", "2"]
    assert [tree.node_of_path(path) for path in tree.paths] == list(range(6))
    with pytest.raises(errors.HimirecError, match="circle '1/2': no such path"):
        tree.node_of_path("1/2")


def test_ancestors_follow_parents(tree):
    assert tree.ancestors[4].tolist() == [0, 2, 4]
    assert tree.ancestors[1].tolist() == [0, 1, -1]
    for node in range(1, tree.nodes):
        level = tree.level[node]
        assert tree.ancestors[node, level] == node
        assert tree.ancestors[node, level - 1] == tree.parent[node]


def test_save_and_load(tree, tmp_path):
    tree.save(tmp_path / "tree")
    loaded = circle_tree.load(tmp_path)
    assert loaded.fingerprint == tree.fingerprint
    for field in dataclasses.fields(tree):
        saved, read = getattr(tree, field.name), getattr(loaded, field.name)
        np.testing.assert_array_equal(read, saved)
        assert np.asarray(read).dtype == np.asarray(saved).dtype


def test_report(tree, tmp_path):
    tree.save(tmp_path / "tree")
    report = files.read_json(tmp_path / "tree" / "tree.json", "")
    assert report["circles"] == 5
    assert report["leaf_circles"] == 4
    assert report["depth"] == {"min": 1, "max": 2, "mean": 1.5}
    assert report["occupancy"] == {"min": 1, "median": 1.5, "max": 4}
    assert report["entropy_bits"] == pytest.approx(1.75)  # of 1/2, 1/4, 1/8, 1/8


def test_the_fingerprint_ignores_centroids_but_not_ranges(tree):
    moved = dataclasses.replace(tree, centroid=tree.centroid + 1)
    resized = dataclasses.replace(tree, end=tree.end + 1)
    assert moved.fingerprint == tree.fingerprint
    assert resized.fingerprint != tree.fingerprint


def test_a_missing_tree_names_the_command(tmp_path):
    with pytest.raises(errors.HimirecError, match="run `himirec prepare` first"):
        circle_tree.load(tmp_path)


def test_another_schema_version_is_refused(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(circle_tree, "VERSION", 99)
    tree.save(tmp_path / "tree")
    monkeypatch.undo()
    with pytest.raises(errors.HimirecError, match="schema version 99.*prepare again"):
        circle_tree.load(tmp_path)
