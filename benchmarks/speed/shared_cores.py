"""Trainings that share the cores: what a step takes by how long idle threads spin, alone and beside others.

    python benchmarks/speed/shared_cores.py [--rounds 5] [--trainings 1 2 3]

Each training is a process of its own with as many threads as there are cores, as a worker's trainers have. Rounds
go through all cases in a random order. Writes results/shared_cores.md.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from machine import describe_machine, load_average
from torch.nn import functional

from fdkd_core.models import build_model
from fdkd_core.spec import Conv2dSpec
from worker.idle_threads import SPIN_TURNS

HERE = Path(__file__).parent
TURNS = {"as torch comes (300,000)": None, f"{SPIN_TURNS:,}, as trainers have it": str(SPIN_TURNS), "0": "0"}
WARM_UP, STEPS = 5, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trainings", type=int, nargs="+", default=[1, 2, 3], help="at the same time")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(time_steps())
        return
    load = load_average()
    cases = [(name, count) for name in TURNS for count in given.trainings]
    found: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for number in range(given.rounds):
        for name, count in random.Random(number).sample(cases, len(cases)):
            found[name, count] += run_together(TURNS[name], count)
            print(number, name, count, f"{1000 * found[name, count][-1]:.1f} ms", flush=True)
    (HERE / "results" / "shared_cores.md").write_text(report(found, given.trainings, load))


def run_together(turns: str | None, count: int) -> list[float]:
    """Seconds a step of each of some trainings at the same time."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    if turns is not None:
        environment["GOMP_SPINCOUNT"] = turns
    command = [sys.executable, __file__, "--child"]
    children = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    return [float(child.communicate()[0]) for child in children]


def time_steps() -> float:
    """Seconds a step of a small network, median; the network is the demo's student."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = build_model(Conv2dSpec(width=16), (1, 32, 32), 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, labels = torch.randn(64, 1, 32, 32), torch.randint(0, 10, (64,))
    taken = []
    for _ in range(WARM_UP + STEPS):
        started = time.perf_counter()
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs).logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[WARM_UP:])


def report(found: dict[tuple[str, int], list[float]], trainings: list[int], load: str) -> str:
    """The table: medians over rounds and trainings, with quartiles."""
    lines = [
        "# Trainings that share the cores", "",
        "Milliseconds a step (median, in brackets the quartiles) of so many trainings at the same time, each with as many",
        "threads as there are cores, by the turns that an idle thread spins before it sleeps (`worker/idle_threads.py`).", "",
        "| turns | " + " | ".join(f"{count} at a time" for count in trainings) + " |",
        "|---|" + "---:|" * len(trainings),
    ]  # fmt: skip
    for name in TURNS:
        cells = []
        for count in trainings:
            low, middle, high = (1000 * value for value in statistics.quantiles(found[name, count], n=4))
            cells.append(f"{middle:.1f} ({low:.1f} to {high:.1f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    facts = {**describe_machine(torch.device("cpu")), "load average before": load}
    return "\n".join([*lines, "", *(f"- {name}: {value}" for name, value in facts.items())]) + "\n"


if __name__ == "__main__":
    main()
