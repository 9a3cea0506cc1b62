"""Every kind of item vectors, through the whole of prepare."""

import numpy as np
import pandas as pd
import pytest
from logs import SETTINGS, random_log, write_raw

from beam_pipelines import prepare
from tfrs_himirec import config, errors
from tfrs_himirec.schema import catalog
from tfrs_himirec.tree import circle_tree


def prepared(folder, log, items, **embedding):
    change = {"embedding": config.Embedding(**embedding)}
    prepare.run(write_raw(folder, log, items), SETTINGS.model_copy(update=change), [])
    return catalog.load(folder)


@pytest.mark.parametrize("kind", ["text", "behavior", "both"])
def test_kinds_have_the_width_and_are_deterministic(tmp_path, kind):
    first = prepared(tmp_path / "1", *random_log(False), kind=kind, dim=7)
    second = prepared(tmp_path / "2", *random_log(False), kind=kind, dim=7)
    assert first.embedding.shape == (first.size, 7)
    np.testing.assert_array_equal(first.embedding, second.embedding)
    np.testing.assert_array_equal(first.rows, second.rows)


@pytest.mark.parametrize("kind", ["text", "both"])
def test_items_without_any_text_still_make_a_tree(tmp_path, kind):
    log, items = random_log(False)
    items = items.assign(title=None, text=None, tags=None)
    listed = prepared(tmp_path, log, items, kind=kind, dim=8)
    assert (listed.embedding[:, :4] == 0).all()
    assert listed.titles.tolist() == [""] * listed.size
    assert len(circle_tree.load(tmp_path).leaves) > 1


def test_own_vectors_reach_the_catalogue(tmp_path):
    log, items = random_log(True)
    own = {item: [float(i), 1.0] for i, item in enumerate(items["item_id"])}
    path = tmp_path / "own.parquet"
    pd.DataFrame({"item_id": own.keys(), "vector": own.values()}).to_parquet(path)
    listed = prepared(tmp_path / "run", log, items, kind="vectors", vectors=str(path))
    assert listed.embedding.tolist() == [own[item] for item in listed.item_ids]


def test_own_vectors_without_a_file_are_refused(tmp_path):
    with pytest.raises(errors.HimirecError, match=r"prepare.embedding.vectors"):
        prepared(tmp_path, *random_log(False), kind="vectors")


def test_preset_that_cannot_be_loaded_leaves_nothing(tmp_path):
    with pytest.raises(errors.HimirecError, match="'/no/preset' cannot be loaded"):
        prepared(tmp_path, *random_log(False), kind="text", preset="/no/preset")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
