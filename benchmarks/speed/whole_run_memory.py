"""Peak memory of a whole training beside the same one written with torchdistill, a process for each.

    python benchmarks/speed/whole_run_memory.py [--threads 2] [--epochs 1] [--out benchmarks/speed/results]

In the environment of `whole_run.py`, which does the same trainings and compares their times. Each side imports
what it needs itself and no more; a peak cannot be reset, so each has a process of its own. Of theirs the
process that loads (their DataLoader has one) is told beside the peak of the training process.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from machine import describe_machine, load_average
from workload import Workload

SIDES = ("ours", "theirs")


def peak(side: str, workload: Workload, student_width: int, epochs: int, workers: int) -> dict[str, float]:
    """Trains in this process; its peaks in MiB."""
    assert workload.data.report == {}
    before = _peak(resource.RUSAGE_SELF)
    if side == "ours":
        from our_run import ours

        ours(workload, student_width, epochs)
    else:
        from whole_run import theirs

        theirs(workload, student_width, epochs, workers)
    return {
        "before": before,
        "peak": _peak(resource.RUSAGE_SELF),
        "loader": _peak(resource.RUSAGE_CHILDREN),
    }


def _peak(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batches", type=int, default=8, help="of an epoch")
    parser.add_argument("--width", type=int, default=64, help="of the teacher")
    parser.add_argument("--workers", type=int, default=1, help="of their DataLoader")
    parser.add_argument("--side", choices=SIDES, help="train this one here, and print its peaks")
    parser.add_argument("--student-width", type=int, default=64, help="with --side")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.side:
        workload = Workload(given.width, 64, given.batches, torch.device("cpu"))
        print(json.dumps(peak(given.side, workload, given.student_width, given.epochs, given.workers)))
        return

    rows = []
    for student_width in (given.width, given.width // 2):
        for number in range(given.rounds):
            for side in SIDES:
                options = ["--side", side, "--student-width", str(student_width)]
                command = [sys.executable, __file__, *sys.argv[1:], *options]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                rows.append(
                    {"student_width": student_width, "round": number, "side": side}
                    | {name: f"{value:.0f}" for name, value in found.items()}
                )
                print(rows[-1], flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "whole_run_memory.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (given.out / "whole_run_memory.md").write_text(report(rows, given))


def report(rows: list[dict[str, object]], given: argparse.Namespace) -> str:
    """The table, and what it was measured with."""
    lines = [
        "# Peak memory of a whole training beside torchdistill",
        "",
        "MiB of the training process, the highest of all rounds; of the growth, from when the data were there.",
        "",
        "| teacher width | student width | ours | torchdistill | ours / theirs | growth ours | growth theirs | their loader |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for width in dict.fromkeys(row["student_width"] for row in rows):
        of = {side: [r for r in rows if r["student_width"] == width and r["side"] == side] for side in SIDES}
        peaks = {side: max(float(str(row["peak"])) for row in found) for side, found in of.items()}
        grown = {
            side: max(float(str(row["peak"])) - float(str(row["before"])) for row in found)
            for side, found in of.items()
        }
        loader = max(float(str(row["loader"])) for row in of["theirs"])
        lines.append(
            f"| {given.width} | {width} | {peaks['ours']:.0f} | {peaks['theirs']:.0f} "
            f"| {peaks['ours'] / peaks['theirs']:.2f} | {grown['ours']:.0f} | {grown['theirs']:.0f} | {loader:.0f} |"
        )
    machine = describe_machine(torch.device("cpu")) | {"load average": load_average()}
    machine["torchdistill"] = version("torchdistill")
    lines += [
        "",
        f"- {given.epochs} epoch(s) of {given.batches} batches of 64, 64x64, {given.rounds} rounds",
        *(f"- {name}: {value}" for name, value in machine.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
