"""Peak memory of each variant, in a process of its own: a peak cannot be reset, and caches would add up."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import torch
from figures import Row
from variants import variants
from workload import Workload

STEPS = 3
"""The optimiser's state is there after the first step; the third adds nothing new."""
NOTHING = "imports, data and student batch"
"""Stands for no variant: what every process needs before it trains."""


def measure_memory(names: list[str], workload: Workload, threads: int) -> list[Row]:
    """One process after another.

    To be called before this process has grown: on Linux a child's peak starts at the size its parent had
    when it was started.
    """
    rows = []
    for name in [NOTHING, *names]:
        options = {
            "variant": name,
            "width": workload.width,
            "batch_size": workload.batch_size,
            "device": str(workload.device),
            "threads": threads,
        }
        command = [sys.executable, str(Path(__file__)), json.dumps(options)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        rows += [Row(measure, name, "MiB", value, value, value, 1) for measure, value in found.items()]
    return rows


def peaks(name: str, workload: Workload) -> dict[str, float]:
    """Runs a few steps of a variant here, and reads the peaks of this process."""
    assert workload.student_batches
    if name != NOTHING:
        step = variants(workload.device)[name](workload)
        for number in range(STEPS):
            step(number)
    found = {"peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if workload.device.type == "cuda":
        found["peak_gpu_memory"] = torch.cuda.max_memory_allocated(workload.device) / 2**20
    return found


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    # One batch of data: filling the cache then needs no more than the training step that follows.
    workload = Workload(options["width"], options["batch_size"], 1, torch.device(options["device"]))
    print(json.dumps(peaks(options["variant"], workload)))


if __name__ == "__main__":
    main()
