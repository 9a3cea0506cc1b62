import hashlib
import stat

import pytest

from tfrs_himirec import errors, files


def _names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_file_replaces_on_success_and_makes_parents(tmp_path):
    path = tmp_path / "a" / "b.txt"
    for text in ("first", "second"):
        with files.atomic_file(path) as temporary:
            temporary.write_text(text)
            assert temporary != path
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert _names(path.parent) == ["b.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_atomic_file_leaves_the_old_one_on_failure(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with (  # noqa: PT012
        pytest.raises(RuntimeError),
        files.atomic_file(path) as temporary,
    ):
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["b.txt"]


def test_atomic_directory_replaces_everything_on_success(tmp_path):
    path = tmp_path / "tree"
    for name in ("one", "two"):
        with files.atomic_directory(path) as temporary:
            (temporary / name).write_text(name)
        assert _names(path) == [name]
    assert _names(tmp_path) == ["tree"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_atomic_directory_leaves_the_old_one_on_failure(tmp_path):
    path = tmp_path / "tree"
    path.mkdir()
    (path / "old").touch()
    with (  # noqa: PT012
        pytest.raises(RuntimeError),
        files.atomic_directory(path) as temporary,
    ):
        (temporary / "new").touch()
        raise RuntimeError
    assert _names(path) == ["old"]
    assert _names(tmp_path) == ["tree"]


def test_json_round_trip(tmp_path):
    value = {"title": "日本", "list": [1, None, 2.5]}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json", "make it") == value
    assert "日本" in (tmp_path / "a.json").read_text()


def test_read_json_names_the_file_and_the_remedy(tmp_path):
    with pytest.raises(errors.HimirecError, match=r"a\.json: no such file; make it"):
        files.read_json(tmp_path / "a.json", "make it")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(errors.HimirecError, match=r"a\.json: not valid JSON.*make it"):
        files.read_json(tmp_path / "a.json", "make it")


def test_sha256_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    wanted = hashlib.sha256(b"abc" * 100_000).hexdigest()
    assert files.sha256(tmp_path / "a") == wanted


def test_fingerprint_ignores_the_order_of_keys_only():
    first = files.fingerprint({"a": 1, "b": [1, 2]})
    assert first == files.fingerprint({"b": [1, 2], "a": 1})
    others = [{"a": 1, "b": [2, 1]}, {"a": 2, "b": [1, 2]}, {"a": 1}]
    assert first not in {files.fingerprint(value) for value in others}
