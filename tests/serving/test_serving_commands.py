"""`himirec serve` and `himirec recommend`, as a user starts them."""

import argparse
import concurrent.futures
import json
import re
import signal
import subprocess
import sys
import threading

import pyarrow as pa
import pytest
from pyarrow import parquet

from serving import client, servable, server
from tfrs_himirec import errors
from tfrs_himirec.cli import recommend_command, serve_command

SERVE = """
import argparse, logging, sys
from tfrs_himirec.cli import serve_command
logging.basicConfig(level=logging.INFO, format="%(message)s")
parser = argparse.ArgumentParser()
serve_command.register(parser.add_subparsers())
args = parser.parse_args(sys.argv[1:])
sys.exit(args.handler(args))
"""


def parse(*arguments):
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    serve_command.register(subparsers)
    recommend_command.register(subparsers)
    return parser.parse_args(arguments)


def run(*arguments):
    args = parse(*arguments)
    return args.handler(args)


@pytest.fixture
def catalog(tmp_path):
    (tmp_path / "catalog").mkdir()
    items = pa.table(
        {
            "item_id": [5, 15],
            "title": ["Fifth", "Fifteenth"],
            "tags": [["odd"], ["odd", "big"]],
            "path": ["1/2/0", "1/2/1"],
        }
    )
    parquet.write_table(items, tmp_path / "catalog" / "items.parquet")
    return str(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_answers_and_stops_on_a_signal(model_base, number):
    base = str(model_base / "himirec")
    command = [sys.executable, "-c", SERVE, "serve", "--model-base", base, "--port=0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stderr.readline, "")
            ready = next(line for line in lines if line.startswith("serving "))
            found = re.fullmatch(r"serving himirec version 10 on (\S+:\d+)\n", ready)
            with client.Client(found[1]) as himirec:
                assert himirec.recommend([[5]])[0].items[0].item_id == 15
            process.send_signal(number)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_stop_finishes_running_requests(model_base, monkeypatch):
    started, release = threading.Event(), threading.Event()
    predict = servable.Servable.predict

    def slow(self, request):
        started.set()
        release.wait(10)
        return predict(self, request)

    monkeypatch.setattr(servable.Servable, "predict", slow)
    stopping = server.start(model_base / "words", port=0)
    words = client.Client(f"localhost:{stopping.port}", "words")
    with words, concurrent.futures.ThreadPoolExecutor(2) as pool:
        answer = pool.submit(words.recommend, [["5"]])
        assert started.wait(10)
        stopped = pool.submit(stopping.stop)
        assert not concurrent.futures.wait([stopped], timeout=0.2).done
        release.set()
        assert answer.result()[0].items[0].item_id == "6"
        stopped.result()


def test_serve_refuses_a_base_without_versions(tmp_path):
    with pytest.raises(errors.HimirecError, match="no model version"):
        run("serve", "--model-base", str(tmp_path))


@pytest.mark.parametrize(
    "option", ["--port=65536", "--port=-1", "--workers=0", "--host=no host"]
)
def test_serve_refuses_values_out_of_range(model_base, option):
    name, value = option.split("=")
    with pytest.raises(errors.HimirecError, match=f"{name}|{value}"):
        run("serve", "--model-base", str(model_base / "words"), "--port=0", option)


def test_serve_refuses_a_port_in_use(running, model_base):
    with pytest.raises(errors.HimirecError, match=f":{running.port}: cannot listen"):
        server.start(model_base / "words", port=running.port)


def test_recommend_prints_titles(target, catalog, capsys):
    assert not run(
        *("recommend", "--target", target, "--history", "1,5", "--exclude", "35"),
        *("--catalog", catalog),
    )
    assert capsys.readouterr().out.splitlines() == [
        "History, the last 2 of 2",
        "  1",
        "  5  Fifth",
        "",
        "Interests",
        "   75.00%  circle 1/2      odd, big",
        "",
        "Recommended items",
        "    1. 15  Fifteenth  [circle 1/2, 3]",
        "    2. 25  [circle 1/2, 2]",
    ]


def test_recommend_prints_json(target, catalog, capsys):
    assert not run(
        *("recommend", "--target", target, "--history", "5", "--history", ""),
        *("--results", "1", "--catalog", catalog, "--json"),
    )
    first, second = json.loads(capsys.readouterr().out)
    assert first == {
        "history": [{"item_id": "5", "title": "Fifth"}],
        "interests": [{"circle": "1/2", "probability": 0.75, "topics": "odd, big"}],
        "items": [
            {"item_id": 15, "score": 3.0, "circle": "1/2", "title": "Fifteenth"},
        ],
    }
    assert second["history"] == []
    assert len(second["items"]) == 1


def test_recommend_without_a_catalogue(target, tmp_path):
    with pytest.raises(errors.HimirecError, match=r"items.parquet: not a catalogue"):
        run("recommend", "--history", "5", "--catalog", str(tmp_path))


def test_recommend_refuses_no_results(capsys):
    with pytest.raises(SystemExit):
        parse("recommend", "--history", "5", "--results", "0")
    assert "expected at least 1" in capsys.readouterr().err


def test_serving_imports_no_keras_beam_or_training():
    code = (
        "import sys; from serving import client, server; "
        "heavy = {'keras', 'apache_beam', 'tfrs_himirec.models'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_parsing_imports_neither_tensorflow_nor_grpc():
    code = (
        "import sys; from tfrs_himirec.cli import recommend_command, serve_command; "
        "sys.exit(bool({'tensorflow', 'grpc'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
