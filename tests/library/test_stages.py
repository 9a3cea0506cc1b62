import json

import pytest

from tfrs_himirec import errors, stages


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "input.txt").write_text("one")
    return tmp_path


class Work:
    """Counts its runs and writes the output."""

    def __init__(self, run_dir):
        self._output = run_dir / "output.txt"
        self.runs = 0

    def __call__(self):
        self.runs += 1
        self._output.write_text("made")


def _stage(run_dir, **settings) -> stages.Stage:
    inputs = [run_dir / "input.txt", run_dir / "maybe.txt"]
    return stages.Stage("sort", settings, inputs, run_dir / "output.txt")


def test_the_second_run_is_skipped(run_dir):
    work = Work(run_dir)
    assert _stage(run_dir, k=1).run(run_dir, work)
    assert not _stage(run_dir, k=1).run(run_dir, work)
    assert work.runs == 1


def test_changed_settings_run_again_and_back_again(run_dir):
    work = Work(run_dir)
    for k in (1, 2, 1):
        assert _stage(run_dir, k=k).run(run_dir, work)
    assert work.runs == 3


def test_a_changed_input_runs_again(run_dir):
    work = Work(run_dir)
    _stage(run_dir).run(run_dir, work)
    (run_dir / "input.txt").write_text("another")
    assert _stage(run_dir).run(run_dir, work)
    (run_dir / "maybe.txt").write_text("new")
    assert _stage(run_dir).run(run_dir, work)
    (run_dir / "maybe.txt").unlink()
    assert _stage(run_dir).run(run_dir, work)
    assert not _stage(run_dir).run(run_dir, work)


def test_a_missing_output_runs_again(run_dir):
    work = Work(run_dir)
    _stage(run_dir).run(run_dir, work)
    (run_dir / "output.txt").unlink()
    assert _stage(run_dir).run(run_dir, work)


def test_force_runs_again(run_dir):
    work = Work(run_dir)
    _stage(run_dir).run(run_dir, work)
    assert _stage(run_dir).run(run_dir, work, force=True)
    assert work.runs == 2


def test_failed_work_leaves_no_stamp(run_dir):
    work = Work(run_dir)
    _stage(run_dir, k=1).run(run_dir, work)

    def fail():
        (run_dir / "output.txt").write_text("half")
        raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory"):
        _stage(run_dir, k=2).run(run_dir, fail)
    assert not list((run_dir / ".stages").iterdir())
    assert _stage(run_dir, k=1).run(run_dir, work)  # the output is not the old one
    assert work.runs == 2


def test_an_input_that_changes_during_the_work_runs_again(run_dir):
    work = Work(run_dir)

    def change_and_work():
        (run_dir / "input.txt").write_text("changed meanwhile")
        work()

    _stage(run_dir).run(run_dir, change_and_work)
    assert _stage(run_dir).run(run_dir, work)


def test_the_stamp_records_the_settings(run_dir):
    _stage(run_dir, k=3).run(run_dir, Work(run_dir))
    stamp = json.loads((run_dir / ".stages" / "sort.json").read_text())
    assert stamp["settings"] == {"k": 3}


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_broken_stamp_is_named(run_dir, content):
    _stage(run_dir).run(run_dir, Work(run_dir))
    stamp = run_dir / ".stages" / "sort.json"
    stamp.write_text(content)
    with pytest.raises(errors.HimirecError, match=r"sort\.json.*remove it"):
        _stage(run_dir).run(run_dir, Work(run_dir))
