"""`himirec benchmark`: every model on the same splits with the same metrics."""

import argparse
import json
import logging
import pathlib

from tfrs_himirec import errors, files

_OPTIONS = {"job": "only", "split": "splits"}
_LOG = logging.getLogger(__name__)
_DESCRIPTION = """\
Fits and measures every model on every protocol and seed, and writes NAME.json, NAME.md
and NAME.svg. Each model on each split is a job of its own: an interrupted benchmark
goes on where it stopped, and what is finished is in the table already."""


def register(subparsers) -> None:
    parser = subparsers.add_parser(
        "benchmark",
        help="compare HimiRec with other models",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", required=True, help="a benchmark")
    parser.add_argument("--raw", metavar="PATH", help="the log, as for `himirec run`")
    parser.add_argument(
        "--work-dir", metavar="DIR", help="default: runs/benchmarks/NAME"
    )
    parser.add_argument(
        "--out", metavar="DIR", default="benchmarks/results", help="for the results"
    )
    parser.add_argument(
        "--only",
        metavar="JOB,...",
        help="run these jobs only (a model, or himirec-VARIANT); the table still has "
        "everything that is finished",
    )
    parser.add_argument(
        "--splits", metavar="A-7,...", help="run on these protocols and seeds only"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON result")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from tfrs_himirec.benchmark import jobs, report, settings

    benchmark, settings_of_run = settings.load(args.config)
    if args.raw:
        raw = str(pathlib.Path(args.raw).resolve())
        data = settings_of_run.data.model_copy(update={"raw": raw})
        settings_of_run = settings_of_run.model_copy(update={"data": data})
    folder = pathlib.Path(args.work_dir or f"runs/benchmarks/{benchmark.name}")
    work = jobs.Work(benchmark, settings_of_run, folder)
    _run_jobs(
        work, _chosen("job", args.only, work.jobs()), _splits(args.splits, benchmark)
    )
    result = report.collect(work)
    out = pathlib.Path(args.out)
    files.write_json(out / f"{benchmark.name}.json", result)
    with files.atomic_file(out / f"{benchmark.name}.md") as temporary:
        temporary.write_text(report.markdown(result))
    report.plot(result, out / f"{benchmark.name}.svg")
    print(json.dumps(result) if args.json else report.markdown(result))
    return 0


def _run_jobs(work, names: list[str], splits: list[tuple[str, int]]) -> None:
    # Split by split, so that an interrupted benchmark has whole tables of some.
    todo = [(*split, job) for split in splits for job in names]
    for done, (protocol, seed, job) in enumerate(todo, 1):
        if work.is_done(protocol, seed, job):
            continue
        _LOG.info("job %d of %d: %s-%d %s", done, len(todo), protocol, seed, job)
        work.run_job(protocol, seed, job)


def _chosen(kind: str, given: str | None, known: list[str]) -> list[str]:
    """Returns the names that an option lists, or all that are known."""
    names = given.split(",") if given else known
    for name in names:
        if name not in known:
            raise errors.HimirecError(
                f"--{_OPTIONS[kind]}: {name!r} is not a {kind} of this benchmark: "
                f"{', '.join(known)}"
            )
    return names


def _splits(given: str | None, benchmark) -> list[tuple[str, int]]:
    # All protocols of a seed before the next seed.
    known = {f"{p}-{s}": (p, s) for s in benchmark.seeds for p in benchmark.protocols}
    return [known[name] for name in _chosen("split", given, [*known])]
