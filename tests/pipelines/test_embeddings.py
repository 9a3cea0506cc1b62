"""Item vectors: similar items are close, bad vectors are named."""

import numpy as np
import pandas as pd
import pytest

from tfrs_himirec import errors
from tfrs_himirec.embeddings import behavior, text, vectors


def test_similar_texts_are_close():
    documents = ["red fox jumps", "red fox sleeps", "blue whale sings", "blue whale"]
    found = text.embed(documents, 3)
    similar = found @ found.T
    assert similar[0, 1] > similar[0, 2] + 0.5
    assert similar[2, 3] > similar[1, 3] + 0.5
    np.testing.assert_array_equal(found, text.embed(documents, 3))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_documents_are_padded_to_the_width(count):
    found = text.embed(["red fox", "blue whale", "red whale"][:count], 16)
    assert found.shape == (count, 16)
    assert np.isfinite(found).all()


def test_texts_without_words_have_zero_vectors():
    assert (text.embed(["", "", ""], 4) == 0).all()


def test_cooccurrence_against_a_double_loop():
    rng = np.random.default_rng(0)
    rows, owner = rng.integers(0, 6, 40), np.repeat([0, 1, 2, 3], 10)
    wanted = np.zeros((6, 6))
    for i in range(40):
        for j in range(i + 1, min(i + 4, 40)):
            if owner[i] == owner[j]:
                wanted[rows[i], rows[j]] += 1 / (j - i)
                wanted[rows[j], rows[i]] += 1 / (j - i)
    found = behavior.cooccurrence(rows, owner, 6, 3)
    np.testing.assert_allclose(found.toarray(), wanted, rtol=1e-5)


def test_cooccurrence_sums_are_exact():
    rng = np.random.default_rng(2)
    rows, owner = rng.integers(0, 9, 900), np.repeat(range(90), 10)
    parts = [
        behavior.cooccurrence(rows[at : at + 90], owner[at : at + 90], 9, 7)
        for at in range(0, 900, 90)
    ]
    whole = behavior.cooccurrence(rows, owner, 9, 7).toarray()
    np.testing.assert_array_equal(sum(parts).toarray(), whole)
    np.testing.assert_array_equal(sum(reversed(parts)).toarray(), whole)


def test_items_consumed_together_are_close():
    rng = np.random.default_rng(1)
    lines = [rng.permutation(5) + 5 * (u % 2) for u in range(50)]
    counts = behavior.cooccurrence(
        np.concatenate(lines), np.repeat(range(50), 5), 11, 4
    )
    found = behavior.embed(counts, 4)
    similar = found @ found.T
    assert similar[0, 1:5].min() > similar[0, 5:10].max()
    assert (found[10] == 0).all()


def test_no_pairs_give_zero_vectors():
    counts = behavior.cooccurrence(np.arange(4), np.arange(4), 4, 3)
    assert (behavior.embed(counts, 8) == np.zeros((4, 8))).all()


def write(path, ids, values):
    pd.DataFrame({"item_id": ids, "vector": values}).to_parquet(path)
    return path


def test_vectors_are_read_in_the_order_of_the_items(tmp_path):
    path = write(tmp_path / "v.parquet", ["b", "a", "c"], [[1.0], [2.0], [3.0]])
    found = vectors.load(path, np.array(["a", "b"], object))
    np.testing.assert_array_equal(found, [[2.0], [1.0]])


def test_missing_vectors_are_counted_and_named(tmp_path):
    path = write(tmp_path / "v.parquet", [1], [[1.0]])
    with pytest.raises(errors.HimirecError, match="2 of 3 items .* first is item_id 7"):
        vectors.load(path, np.array([1, 7, 8]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [1.0], [2.0, 3.0]], "row 2 has 1 numbers, row 1 has 2"),
        ([[1.0], None, [2.0]], "row 2 has 0 numbers"),
        ([[1.0], [2.0], [np.nan]], "row 3 holds a number that is missing"),
        ([1.0, 2.0, 3.0], "a list of floats"),
    ],
)
def test_vectors_that_do_not_fit_are_named(tmp_path, values, message):
    path = write(tmp_path / "v.parquet", [1, 2, 3], values)
    with pytest.raises(errors.HimirecError, match=message):
        vectors.load(path, np.array([1, 2, 3]))


def test_item_with_two_vectors_is_named(tmp_path):
    path = write(tmp_path / "v.parquet", ["a", "a"], [[1.0], [2.0]])
    with pytest.raises(errors.HimirecError, match="row 2 names item_id a again"):
        vectors.load(path, np.array(["a"], object))


def test_integer_ids_do_not_match_text(tmp_path):
    path = write(tmp_path / "v.parquet", ["1"], [[1.0]])
    with pytest.raises(errors.HimirecError, match="ids of the same type"):
        vectors.load(path, np.array([1]))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(errors.HimirecError, match=r"no.parquet.*embedding.vectors"):
        vectors.load(tmp_path / "no.parquet", np.array([1]))


def test_file_without_vectors_is_named(tmp_path):
    pd.DataFrame({"item_id": [1]}).to_parquet(tmp_path / "v.parquet")
    with pytest.raises(errors.HimirecError, match=r"v.parquet"):
        vectors.load(tmp_path / "v.parquet", np.array([1]))


@pytest.fixture
def preset(tmp_path):
    """A tiny encoder with random weights, saved as a local preset."""
    import keras_nlp

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "fox", "blue"]
    (tmp_path / "words.txt").write_text("\n".join(vocabulary))
    tokenizer = keras_nlp.models.BertTokenizer(str(tmp_path / "words.txt"))
    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=64,
    )
    backbone.save_to_preset(str(tmp_path / "preset"))
    tokenizer.save_to_preset(str(tmp_path / "preset"))
    return str(tmp_path / "preset")


def test_preset_pools_real_tokens_only(preset):
    from tfrs_himirec.embeddings import preset as encoder

    found = encoder.embed(["red fox", "red fox", "blue", "fox red"], preset, 3)
    assert found.shape == (4, 3)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0] - found[2]).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-4)


def test_preset_that_cannot_be_loaded_is_named():
    from tfrs_himirec.embeddings import preset as encoder

    with pytest.raises(errors.HimirecError, match="'/no/such/preset' cannot be loaded"):
        encoder.embed(["red"], "/no/such/preset", 3)
