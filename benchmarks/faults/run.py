"""The fault table: each fault many times, at random moments, with real workers, on SQLite and PostgreSQL in turn.

    python benchmarks/faults/run.py [--runs 20] [--fault F4 ...] [--parallel 3] [--out benchmarks/faults/results]

Every run has a seed of its own, in the results; `--seed` with `--runs 1` and `--fault` repeats one of them. The checks
are those of the tests, whose rig this borrows: a flake is a failure. Needs PostgreSQL and redis-server on this machine.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import random
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # before torch is imported, here and in every child
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests" / "support")]

import psycopg  # noqa: E402
from bench import Bench  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402
from small_job import write_small_data  # noqa: E402
from worker_rig import Rig, make_template, use_template  # noqa: E402

COLUMNS = ["fault", "scenario", "database", "seed", "seconds", "passed"]


@dataclass(frozen=True)
class Run:
    """One fault, once."""

    fault: str
    index: int
    database: str
    seed: int
    postgres: str
    data: Path
    undisturbed: Path


@contextmanager
def own_database(server_url: str) -> Iterator[str]:
    """An empty PostgreSQL database of one run."""
    name = f"fdkd_faults_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"{server_url.rpartition('/')[0]}/{name}"
        finally:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def perform(run: Run) -> dict[str, Any]:
    """Lets one fault happen; a row of the results, with the traceback of a failure."""
    scenario = SCENARIOS[run.fault][run.index]
    used, error, started = [], "", time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fdkd-fault-") as name, own_database(run.postgres) as postgres:
        folder, rigs = Path(name), []

        def make_rig(*, database: str = run.database, **settings: Any) -> Rig:
            used.append(database)
            url = postgres if database == "postgresql" else f"sqlite:///{folder / 'test.db'}"
            rig = Rig(folder, url, settings)
            use_template(rig, run.undisturbed)
            rigs.append(rig)
            return rig

        try:
            scenario(Bench(make_rig, run.data, run.undisturbed, random.Random(run.seed)))
        except BaseException:
            error = traceback.format_exc() + "".join(rig.report() for rig in rigs)
        finally:
            for rig in rigs:
                rig.close()
    return {
        "fault": run.fault, "scenario": scenario.__name__, "database": used[0] if used else run.database,
        "seed": run.seed, "seconds": round(time.monotonic() - started, 1), "passed": int(not error), "error": error,
    }  # fmt: skip


def table(rows: list[dict[str, Any]], command: str) -> str:
    """Runs and failures of each scenario."""
    lines = [
        "# Faults", "", f"`{command}`", "",
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}. "
        "Each run checks that the fault happened, that no acknowledged job is lost, that no stale attempt wrote, and that "
        "no process and no working folder is left.", "",
        "| fault | what happens | runs on SQLite | runs on PostgreSQL | failures | median s |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for fault, scenarios in SCENARIOS.items():
        for scenario in scenarios:
            found = [row for row in rows if row["scenario"] == scenario.__name__]
            if not found:
                continue
            count = {kind: sum(row["database"] == kind for row in found) for kind in ("sqlite", "postgresql")}
            failures = sum(not row["passed"] for row in found)
            middle = sorted(row["seconds"] for row in found)[len(found) // 2]
            what = (scenario.__doc__ or "").split(": ", 1)[1].strip().rstrip(".")
            lines.append(
                f"| {fault} | {what} | {count['sqlite']} | {count['postgresql']} | {failures} | {middle} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--fault", action="append", choices=list(SCENARIOS))
    parser.add_argument("--seed", type=int, help="of the first run; the others count up")
    parser.add_argument("--parallel", type=int, default=3)
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.randrange(10**6)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="fdkd-faults-") as name:
        data = write_small_data(Path(name) / "small.npz")
        undisturbed = make_template(Path(name), data)
        runs = [
            Run(fault, index, ("sqlite", "postgresql")[number % 2], first + number, options.postgres, data, undisturbed)
            for number in range(options.runs)
            for fault in options.fault or SCENARIOS
            for index in range(len(SCENARIOS[fault]))
        ]  # fmt: skip
        with (
            ProcessPoolExecutor(options.parallel, mp_context=get_context("spawn")) as pool,
            (options.out / "runs.csv").open("w", newline="") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            for future in as_completed([pool.submit(perform, run) for run in runs]):
                row = future.result()
                rows.append(row)
                writer.writerow(row)
                file.flush()
                print(
                    f"{len(rows)}/{len(runs)}",
                    *(row[name] for name in COLUMNS),
                    row["error"],
                    flush=True,
                )
    command = "python benchmarks/faults/run.py " + " ".join(sys.argv[1:])
    (options.out / "table.md").write_text(table(rows, command))
    print((options.out / "table.md").read_text())
    sys.exit(any(not row["passed"] for row in rows))


if __name__ == "__main__":
    main()
