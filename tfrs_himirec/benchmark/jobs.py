"""Jobs of a benchmark: each fits models on one split, in a process of its own."""

import concurrent.futures
import logging
import multiprocessing
import os
import pathlib
import resource
import threading
import time

from tfrs_himirec import config, files
from tfrs_himirec.benchmark import cells, contenders, himirec_rows, rows, settings

_LOG = logging.getLogger(__name__)


class Work:
    """The working directory of a benchmark; what is done is not done again.

    Args:
      benchmark: settings.
      run: configuration of the HimiRec rows.
      folder: working directory.
    """

    def __init__(
        self, benchmark: settings.Benchmark, run: config.Run, folder: files.Path
    ):
        self.benchmark = benchmark
        self.run = run
        self.folder = pathlib.Path(folder)

    def jobs(self) -> list[str]:
        """Returns the names of the jobs of every split, in order."""
        names = [m for m in self.benchmark.models if m not in self.benchmark.skip]
        if "himirec" in names:
            names += [
                f"himirec-{variant}"
                for variant in self.benchmark.variants
                if variant not in self.benchmark.skip
                and not himirec_rows.is_default(variant, self.run)
            ]
        return names

    def cell(self, protocol: str, seed: int) -> cells.Cell:
        return cells.Cell.of(self.run, self.folder, protocol, seed)

    def is_done(self, protocol: str, seed: int, job: str) -> bool:
        path = self._stamp(protocol, seed, job)
        found = files.read_json(path, "remove it") if path.exists() else {}
        return found.get("fingerprint") == self._fingerprint(protocol, seed, job)

    def run_job(self, protocol: str, seed: int, job: str) -> None:
        """Runs a job in a fresh process and stamps it when it is complete."""
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            arguments = (self.benchmark, self.run, self.folder, protocol, seed, job)
            spent = pool.submit(_run, *arguments).result()
        value = {"fingerprint": self._fingerprint(protocol, seed, job)} | spent
        files.write_json(self._stamp(protocol, seed, job), value)

    def rows(self, protocol: str, seed: int) -> list[rows.Row]:
        """Returns the rows of a split that were finished with these settings."""
        folder = self.cell(protocol, seed).folder / "rows"
        return [
            rows.load(path)
            for job in self._done(protocol, seed)
            for path in sorted((folder / job).glob("*.json"))
        ]

    def spent(self, protocol: str, seed: int) -> dict[str, dict]:
        """Returns seconds and peak memory of every finished job of a split."""
        keys = ("seconds", "peak_memory_mib")
        found = {}
        for job in self._done(protocol, seed):
            stamp = files.read_json(self._stamp(protocol, seed, job), "remove it")
            found[job] = {key: stamp[key] for key in keys}
        return found

    def _done(self, protocol: str, seed: int) -> list[str]:
        return [job for job in self.jobs() if self.is_done(protocol, seed, job)]

    def setting(self, model: str) -> dict:
        """Returns the tuned setting of a baseline, tuned on the first split.

        Tuning reads the validation users of the first protocol and seed only; all
        splits use what it chose.
        """
        first = self.cell(self.benchmark.protocols[0], self.benchmark.seeds[0])
        search = self.benchmark.search.get(model, contenders.SEARCH[model])
        base = self.benchmark.base.get(model, {})
        if not search:
            return base
        first.prepare()
        record = self.tuning / f"{model}.json"
        return contenders.tune(model, first, base, search, record)

    @property
    def tuning(self) -> pathlib.Path:
        """Directory of the attempts that were made on this data."""
        inputs = self.run.model_dump(include={"data", "prepare", "encoder", "evaluate"})
        return self.folder / "tuning" / files.fingerprint(inputs)

    def _stamp(self, protocol: str, seed: int, job: str) -> pathlib.Path:
        return self.cell(protocol, seed).folder / "jobs" / f"{job}.json"

    def _fingerprint(self, protocol: str, seed: int, job: str) -> str:
        unused = {"export", "run_dir"}
        if not job.startswith("himirec"):
            unused |= {"generator", "towers", "recommend"}
        run = self.cell(protocol, seed).run.model_dump(exclude=unused)
        search = contenders.SEARCH.get(job), self.benchmark.search.get(job)
        return files.fingerprint([job, run, self.benchmark.base.get(job), search])


def _run(
    benchmark: settings.Benchmark,
    run: config.Run,
    folder: pathlib.Path,
    protocol: str,
    seed: int,
    job: str,
) -> dict:
    """Runs one job; returns its seconds and peak memory in MiB."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    started = time.monotonic()
    work = Work(benchmark, run, folder)
    cell = work.cell(protocol, seed)
    cell.prepare()
    for row in _rows_of(work, cell, job):
        row.save(cell.folder / "rows" / job)
        recall = {
            k: round(float(v.mean()), 4) for k, v in row.per_user["excluded"].items()
        }
        _LOG.info("%s-%d %s: %s", protocol, seed, row.key, recall)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mib": round(peak),
    }


def _end_with_parent() -> None:
    """Ends this process when the benchmark was killed: nobody waits for it."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _rows_of(work: Work, cell: cells.Cell, job: str):
    if job == "himirec":
        yield from himirec_rows.main_rows(cell)
    elif job.startswith("himirec-"):
        yield himirec_rows.variant_row(job.removeprefix("himirec-"), cell)
    else:
        yield rows.of_contender(job, cell, work.setting(job))
