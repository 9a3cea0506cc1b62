"""The documents say what the code does."""

import pathlib
import re
import shlex

import pytest

from tfrs_himirec import config
from tfrs_himirec.cli import main

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("himirec ")])
def test_readme_commands_are_accepted(line):
    parsed = main.parser().parse_args(shlex.split(line)[1:])
    assert callable(parsed.handler)


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("make ")])
def test_readme_make_targets_exist(line):
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_two_commands_come_first():
    assert BLOCKS[0].startswith("make demo")
    assert "make test" in BLOCKS[0]


def test_configuration_reference_is_current():
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert text == config.reference()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=str)
def test_shipped_configurations_are_valid(path):
    config.load(path)


def test_links_of_the_documents_exist():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not link.startswith("http"):
                assert (document.parent / link).exists(), f"{document}: {link}"
