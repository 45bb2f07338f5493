"""From exec to the first steps of training: what the service pays for every attempt.

    python benchmarks/speed/startup.py SPEC DATA [--rounds 5]

Each round starts `python -m fdkd_core` in a fresh folder and stops it after its first `step` event. Wall time depends
on what else the machine does; CPU time of the process and its children hardly does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOMENTS = ("run_started", "phase_started", "step")


def measure(spec: Path, data: Path) -> dict[str, float]:
    """Seconds from exec to each of `MOMENTS`, and CPU seconds until the first step."""
    with tempfile.TemporaryDirectory() as folder:
        read, write = os.pipe()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "fdkd_core",
                spec,
                data,
                f"{folder}/out",
                "--quiet",
                "--events-fd",
                str(write),
            ],
            pass_fds=[write],
        )
        os.close(write)
        found: dict[str, float] = {}
        with os.fdopen(read) as events:
            for line in events:
                name = json.loads(line)["event"]
                if name in MOMENTS:
                    found.setdefault(name, time.perf_counter() - start)
                if name == "step":
                    process.kill()
                    break
        process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {**found, "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rounds = [measure(options.spec, options.data) for _ in range(options.rounds)]
    for name in (*MOMENTS, "cpu"):
        values = [figures[name] for figures in rounds]
        print(
            f"{name:14s} median {statistics.median(values):6.2f} s   {min(values):.2f} to {max(values):.2f}"
        )
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {options.rounds} rounds")


if __name__ == "__main__":
    main()
