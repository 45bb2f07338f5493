"""From a job's claim to its first step, under a real worker: the first job, and those that find a trainer on standby.

    python benchmarks/speed/claim_to_step.py [--jobs 6]

The job is the tests' small one (an archive of 156 rows), so that what is timed is the worker, the start of the trainer
and the preparation of the run. Writes results/claim_to_step.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))

from small_job import write_small_data  # noqa: E402
from worker_process import REAL  # noqa: E402
from worker_rig import Rig  # noqa: E402

SETTLE_S = 2.5
"""Between two jobs: a trainer on standby has done its imports by then."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=6)
    given = parser.parse_args()
    taken = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rig = Rig(folder, f"sqlite:///{folder / 'jobs.db'}", {"trainer_standby": True})
        dataset_id = rig.add_dataset(write_small_data(folder / "small.npz"))
        worker = rig.start_worker(REAL)
        for _ in range(given.jobs):
            time.sleep(SETTLE_S)
            job_id = rig.add_job(dataset_id)
            rig.wait_for_end(job_id, "succeeded")
            (claimed,) = rig.events(job_id, "job.claimed")
            events = map(json.loads, rig.read_artifact(job_id, "events.jsonl").decode().splitlines())
            step = next(event for event in events if event["event"] == "step")
            taken.append(step["time"] - claimed.created_at.timestamp())
            print(f"{taken[-1]:.2f} s", flush=True)
        worker.stop()
        rig.close()
    lines = [
        "# From a job's claim to its first step",
        "",
        f"- first job of a worker: {taken[0]:.2f} s",
        f"- the next {len(taken) - 1}, with a trainer on standby: median {statistics.median(taken[1:]):.2f} s, "
        f"at most {max(taken[1:]):.2f} s",
        f"- `python benchmarks/speed/claim_to_step.py --jobs {given.jobs}`, {os.cpu_count()} cores "
        f"({platform.machine()}), Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f}, "
        f"{datetime.now(UTC).date()}",
    ]
    (HERE / "results" / "claim_to_step.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
