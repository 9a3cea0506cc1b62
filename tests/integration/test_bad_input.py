"""Bad input: one line that names the thing and the remedy, exit code 2, no debris."""

import json
import shutil

import pytest
from conftest import himirec, write_config

from tfrs_himirec.cli import main

HEADER = "user_id,item_id,timestamp,weight\n"
ITEMS = "item_id,title\n1,one\n2,two\n"

LOGS = {
    "missing column": ("user_id,item,timestamp\n1,1,1\n", ITEMS, "--item-id-column"),
    "timestamp": (HEADER + "1,1,5,1\n1,2,soon,1\n", ITEMS, "soon"),
    "negative weight": (HEADER + "1,1,5,1\n1,2,6,-3\n", ITEMS, "-3"),
    "duplicate item": (HEADER + "1,1,5,1\n", ITEMS + "2,again\n", "2"),
    "empty log": (HEADER, ITEMS, "interactions.csv"),
}


def one_line(capfd) -> str:
    lines = capfd.readouterr().err.strip().splitlines()
    (line,) = [line for line in lines if "error:" in line]
    assert not any("Traceback" in line for line in lines)
    return line


@pytest.mark.parametrize("name", LOGS)
def test_import_refuses(name, tmp_path, capfd):
    log, items, named = LOGS[name]
    source = tmp_path / "source"
    source.mkdir()
    (source / "interactions.csv").write_text(log)
    (source / "items.csv").write_text(items)
    out = tmp_path / "run"
    arguments = ["import", "csv", "--raw", str(source), "--run-dir", str(out)]
    assert main.main(arguments) == 2
    assert named in one_line(capfd)
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prepare: {tree: {kk: 4}}", "prepare.tree.kk"),
        ("towers: {loss: hinge}", "towers.loss"),
        ("generator: {epochs: 0}", "generator.epochs"),
        ("a: [", "YAML"),
    ],
)
def test_config_refused(text, named, tmp_path, capfd):
    settings = tmp_path / "bad.yaml"
    settings.write_text(text)
    out = tmp_path / "run"
    assert main.main(["run", "--config", str(settings), "--run-dir", str(out)]) == 2
    line = one_line(capfd)
    assert named in line
    assert str(settings) in line
    assert not out.exists()


def test_missing_config(tmp_path, capfd):
    assert main.main(["run", "--config", str(tmp_path / "no.yaml")]) == 2
    assert "no.yaml" in one_line(capfd)


def test_log_without_a_path(tmp_path, capfd):
    settings = write_config(tmp_path / "csv.yaml", data={"source": "csv"})
    arguments = ["run", "--config", str(settings), "--run-dir", str(tmp_path / "run")]
    assert main.main(arguments) == 2
    assert "--raw" in one_line(capfd)


def test_run_directory_of_another_schema_version(run_dir, tmp_path, capfd):
    other = tmp_path / "run"
    shutil.copytree(run_dir, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    for command in (["prepare"], ["train", "encoder"], ["evaluate"], ["export"]):
        assert main.main([*command, "--run-dir", str(other)]) == 2
        line = one_line(capfd)
        assert "99" in line
        assert "--force" in line


def test_commands_before_their_stage(tmp_path, capfd):
    remedies = {
        ("prepare",): "himirec import",
        ("train", "encoder"): "himirec prepare",
        ("train", "generator"): "himirec prepare",
        ("evaluate",): "himirec prepare",
        ("export",): "himirec prepare",
    }
    for command, remedy in remedies.items():
        assert main.main([*command, "--run-dir", str(tmp_path / "empty")]) == 2
        assert remedy in one_line(capfd)


def test_model_base_without_versions(tmp_path, capfd):
    assert main.main(["serve", "--model-base", str(tmp_path)]) == 2
    assert "himirec export" in one_line(capfd)


def test_unknown_option_is_refused_by_commands_without_beam(tmp_path):
    done = himirec("evaluate", "--run-dir", tmp_path, "--runner", "FnApiRunner")
    assert done.returncode == 2
    assert "unrecognized arguments" in done.stderr


@pytest.mark.parametrize(
    "command", ["run", "import", "synth", "prepare", "train", "evaluate", "export"]
)
def test_help_names_the_options(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: himirec {command}" in capsys.readouterr().out
