"""Requests per second and latencies of the API beside a bare endpoint, in one run, on SQLite and PostgreSQL.

    python benchmarks/service/measure.py [--postgres URL] [--out benchmarks/service/results]

One uvicorn process serves, another process sends. Service and bare endpoint take turns, several rounds each, so that
the machine's moods fall on both. Also: listing 50 of 100,000 jobs, how long an idle embedded worker takes to start a
job, and whether each of 2,000 jobs created at full load is there afterwards.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
from api_report import report
from sqlalchemy import func, insert, select, update

from fdkd_core.spec import load_spec
from service.db import Database, db_now
from service.identifiers import new_id
from service.tables import ApiKey, Dataset, Job

HERE = Path(__file__).parent
SPEC = {
    "kind": "distill", "name": "benchmark", "dataset": "benchmark", "task": {"kind": "classification"},
    "teacher": {"modality": "image"}, "student": {"modality": "audio"},
}  # fmt: skip
REPORT = {
    "sha256": "0" * 64, "rows": 3000, "classes": [str(i) for i in range(10)],
    "splits": {s: {"rows": 1000, "classes": {str(i): 100 for i in range(10)}} for s in ("train", "val", "test")},
    "modalities": {
        "image": {"kind": "image", "input_shape": [1, 16, 16], "input_dtype": "float32"},
        "audio": {"kind": "audio", "input_shape": [1, 40, 64], "input_dtype": "float32"},
    },
    "duplicates": [], "warnings": [],
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    command: list[str], env: dict[str, str], url: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, ready when `url` answers with anything."""
    child = subprocess.Popen(command, env=os.environ | env, stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while url:
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                if time.monotonic() > deadline or child.poll() is not None:
                    raise SystemExit(f"{command} did not start") from None
                time.sleep(0.1)
        yield child
    finally:
        child.terminate()
        child.wait(30)


@contextmanager
def databases(postgres: str) -> Iterator[dict[str, tuple[str, str]]]:
    """Two empty databases of each kind: the service's and the bare endpoint's."""
    names = [f"fdkd_bench_{uuid.uuid4().hex[:8]}" for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder, psycopg.connect(postgres, autocommit=True) as server:
        for name in names:
            server.execute(f"CREATE DATABASE {name}")
        try:
            base = postgres.rpartition("/")[0]
            yield {
                "sqlite": (f"sqlite:///{folder}/fdkd.db", f"sqlite:///{folder}/bare.db"),
                "postgresql": (f"{base}/{names[0]}", f"{base}/{names[1]}".replace("://", "+psycopg://")),
            }
        finally:
            for name in names:
                server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def load(url: str, request: dict[str, Any], **options: float) -> dict[str, Any]:
    """One run of the load generator in its own process."""
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, str(HERE / "load.py"), "--url", url, *flags],
        input=json.dumps(request).encode(), capture_output=True, check=True,
    )  # fmt: skip
    return cast(dict[str, Any], json.loads(done.stdout))


def expect(found: dict[str, Any], status: int) -> dict[str, Any]:
    """The figures, or an end: a benchmark of errors means nothing."""
    if set(found["statuses"]) != {str(status)}:
        raise SystemExit(f"expected only {status}, found {found['statuses']}")
    return found


def prepare(url: str, environment: dict[str, str]) -> tuple[Database, str, str]:
    """A migrated database with a key and a dataset that is ready; the key, and its owner."""
    subprocess.run([sys.executable, "-m", "service", "migrate"], env=os.environ | environment, check=True)
    made = subprocess.run(
        [sys.executable, "-m", "service", "keys", "create", "--name", "benchmark", "--scope", "read", "--scope", "write"],
        env=os.environ | environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    key = next(word for word in made.stdout.split() if word.startswith("fdkd_"))
    database = Database(url.replace("postgresql://", "postgresql+psycopg://"))
    with database.write() as session:
        owner = session.scalar(select(ApiKey.owner_id))
        session.add(
            Dataset(
                id=new_id("ds"), owner_id=owner, name="benchmark", name_key="benchmark", format="zip", size_bytes=1,
                sha256="0" * 64, storage_key="datasets/benchmark", state="ready", report=REPORT, validated_at=db_now(),
            )
        )  # fmt: skip
    assert owner is not None
    return database, key, owner


def measure(kind: str, urls: tuple[str, str], rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Every figure on one database."""
    with tempfile.TemporaryDirectory() as folder:
        env = {
            "FDKD_DATA_DIR": folder, "FDKD_DATABASE_URL": urls[0], "FDKD_MAX_QUEUED_JOBS": "5000", "FDKD_ACCESS_LOG": "0",
        }  # fmt: skip
        database, key, owner = prepare(urls[0], env)
        ports = free_port(), free_port()
        api, bare = (f"http://127.0.0.1:{port}" for port in ports)
        headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        body = json.dumps({"spec": SPEC})
        create = {"method": "POST", "headers": headers, "body": body}
        with (
            process([sys.executable, "-m", "service", "api", "--port", str(ports[0])], env, f"{api}/livez"),
            process([sys.executable, str(HERE / "bare.py"), urls[1], str(ports[1])], {}, f"{bare}/jobs/none"),
        ):
            made = {
                "service": expect(load(f"{api}/v1/jobs", create, connections=4, seconds=2), 201)["locations"],
                "bare": [],
            }
            empty_queue(database)
            bare_ids = bare_rows(bare, headers, body)
            show = {
                "service": {"method": "GET", "headers": headers, "paths": made["service"][:200]},
                "bare": {"method": "GET", "headers": headers, "paths": [f"/jobs/{i}" for i in bare_ids]},
            }
            for connections in (16, 4):
                for round_number in range(rounds):
                    order = [("service", api, "/v1/jobs"), ("bare", bare, "/jobs")]
                    for who, address, path in order if round_number % 2 == 0 else order[::-1]:
                        empty_queue(database)
                        for what, request, status in (("create", create, 201), ("status", show[who], 200)):
                            found = expect(
                                load(address + path, request, connections=connections, seconds=seconds),
                                status,
                            )
                            yield {
                                "database": kind,
                                "what": what,
                                "who": who,
                                "connections": connections,
                            } | found
            empty_queue(database)
            found = expect(load(f"{api}/v1/jobs", create, connections=16, seconds=600, requests=2000), 201)
            ids = [location.rpartition("/")[2] for location in found["locations"]]
            with database.read() as session:
                there = set(session.scalars(select(Job.id)))
            lost = len(set(ids) - there) + (2000 - len(set(ids)))
            yield {
                "database": kind,
                "what": f"lost of 2,000: {lost}",
                "who": "service",
                "connections": 16,
            } | found
            fill(database, owner)
            listing = {"method": "GET", "headers": headers, "paths": ["/v1/jobs?limit=50"]}
            found = expect(load(f"{api}/v1/jobs", listing, connections=4, seconds=seconds), 200)
            yield {"database": kind, "what": "list 50 of 100,000", "who": "service", "connections": 4} | found
            yield {
                "database": kind,
                "what": "start on an idle worker",
                "who": "service",
                "connections": 1,
            } | starts(api, env, database, headers, body)
        database.close()


def empty_queue(database: Database) -> None:
    """Nobody takes the jobs away here, and a queue of thousands is not what a service lives with."""
    with database.write() as session:
        session.execute(update(Job).where(Job.state == "queued").values(state="cancelled"))


def bare_rows(bare: str, headers: dict[str, str], body: str) -> list[str]:
    """Some rows of the bare endpoint to look at."""
    ids = []
    for _ in range(200):
        request = urllib.request.Request(f"{bare}/jobs", body.encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            ids.append(json.load(answer)["id"])
    return ids


def fill(database: Database, owner: str, total: int = 100_000) -> None:
    """Jobs up to `total`, finished, as after some years."""
    spec = load_spec(SPEC).model_dump(mode="json")
    with database.read() as session:
        dataset_id = session.scalar(select(Dataset.id))
        missing = total - (session.scalar(select(func.count()).select_from(Job)) or 0)
    for _ in range(0, missing, 5000):
        rows = [
            {
                "id": new_id("job"), "owner_id": owner, "kind": "distill", "name": "old", "state": "succeeded",
                "spec": spec, "dataset_id": dataset_id, "result": {"seconds": 1.0},
            }
            for _ in range(5000)
        ]  # fmt: skip
        with database.write() as session:
            session.execute(insert(Job), rows)


def starts(
    api: str, env: dict[str, str], database: Database, headers: dict[str, str], body: str
) -> dict[str, Any]:
    """Seconds from the answer of the POST to the claim by a worker that has nothing to do."""
    empty_queue(database)
    waits = []
    with process([sys.executable, "-m", "worker"], env):
        time.sleep(8)  # for it to import what it needs
        for _ in range(10):
            request = urllib.request.Request(f"{api}/v1/jobs", body.encode(), headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                job_id = json.load(answer)["id"]
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with database.read() as session:
                    row = session.execute(
                        select(Job.created_at, Job.started_at, Job.state).where(Job.id == job_id)
                    ).one()
                # The dataset's file does not exist, so the attempt ends at once; here only its start matters.
                if row.started_at and row.state not in ("queued", "running"):
                    break
                time.sleep(0.05)
            waits.append((row.started_at - row.created_at).total_seconds())
            time.sleep(0.3)
    ordered = sorted(waits)
    return {
        "requests": len(waits), "rps": 0.0, "p50_ms": 1000 * statistics.median(waits),
        "p95_ms": 1000 * ordered[-1], "p99_ms": 1000 * ordered[-1], "statuses": {},
    }  # fmt: skip


COLUMNS = ["database", "what", "who", "connections", "requests", "rps", "p50_ms", "p95_ms", "p99_ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    rows = []
    with databases(options.postgres) as urls:
        for kind in options.database or urls:
            for row in measure(kind, urls[kind], options.rounds, options.seconds):
                rows.append(row)
                print({name: row[name] for name in COLUMNS}, flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "api.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    (options.out / "api.md").write_text(
        report(rows, "python benchmarks/service/measure.py " + " ".join(sys.argv[1:]))
    )
    print((options.out / "api.md").read_text())


if __name__ == "__main__":
    main()
