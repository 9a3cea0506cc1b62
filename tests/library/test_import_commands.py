import argparse
import json

import pytest

from tfrs_himirec import errors, files
from tfrs_himirec.cli import import_command, synth_command
from tfrs_himirec.schema import raw


def _command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(required=True)
    import_command.register(subparsers)
    synth_command.register(subparsers)
    args = parser.parse_args(arguments)
    return args.handler(args)


def test_import_command(tmp_path, capsys):
    log_path = tmp_path / "a.csv"
    log_path.write_text("who,item_id,timestamp\nu,1,5\nv,1,soon\n")
    command = [
        "import",
        "csv",
        "--raw",
        str(log_path),
        "--run-dir",
        str(tmp_path / "r"),
    ]
    command += ["--user-id-column", "who", "--on-bad-rows", "reject"]
    assert _command(*command, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["interactions"], summary["rejected"]) == (1, 1)
    with pytest.raises(errors.HimirecError, match="exists; pass --force"):
        _command(*command)
    assert _command(*command, "--force") == 0
    assert (
        "1 users, 1 items, 1 interactions; 1 rows rejected" in capsys.readouterr().out
    )


def test_movielens_has_its_own_columns(tmp_path):
    command = ("import", "movielens", "--raw", "x", "--run-dir", str(tmp_path))
    with pytest.raises(errors.HimirecError, match="leave out --items"):
        _command(*command, "--title-column", "name")


def test_synth_command(tmp_path, capsys):
    out = tmp_path / "data"
    sizes = ("--users", "3", "--items", "5", "--events", "10", "--seed", "1")
    assert _command("synth", *sizes, "--out", str(out), "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    counts = [summary[key] for key in ("users", "items", "interactions")]
    assert counts == [3, 5, 10]
    first = [files.sha256(path) for path in raw.paths(out)]
    assert _command("synth", *sizes, "--out", str(out), "--force") == 0
    assert [files.sha256(path) for path in raw.paths(out)] == first
    assert "3 users, 5 items, 10 interactions" in capsys.readouterr().out


def test_synth_command_refuses(tmp_path):
    with pytest.raises(errors.HimirecError, match="raise --events"):
        _command("synth", "--users", "9", "--events", "5", "--out", str(tmp_path / "d"))
    with pytest.raises(SystemExit):
        _command("synth", "--users", "0", "--out", str(tmp_path / "d"))


def test_force_does_not_replace_other_directories(tmp_path):
    (tmp_path / "letters.txt").touch()
    with pytest.raises(errors.HimirecError, match="is no imported data"):
        _command("synth", "--out", str(tmp_path), "--force")
