"""Speed of the training step: the plain student's, ours, and the authors', side by side in one run.

    python benchmarks/speed/step.py [--threads 2] [--steps 5] [--rounds 7] [--width 64] [--device auto]

Workload: an image teacher (3x64x64) and an audio student (1x64x64), both ResNet-18 with the large stem,
batch 64. Variants take turns (A B C A B C ..), `--steps` steps each, for `--rounds` rounds, so that a busy
machine slows all of them; ratios are taken within a round. Steps are timed on batches made beforehand; what
loading costs is measured with `fit`, the whole loop. Writes step.csv and step.md below `--out`.

With `--device cuda` there are bf16 variants too, and peak memory of the GPU. Use no more threads than there
are idle cores: threads wait for each other by spinning. Exit codes: 1 if a loss is further from float64 than
it may be, 2 if there is no GPU where one was asked for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_wait import fit_actions
from device_checks import check_losses, failures
from figures import Row, ratio_rows, summarise, tables, throughput_rows, time_rows, write_csv
from loss_cost import CROSS_ENTROPY, DIM, loss_actions
from machine import describe_machine, load_average
from peak_memory import measure_memory
from timing import interleave
from variants import PLAIN, variants
from workload import CLASSES, SIDE, Workload

from fdkd_core.errors import SpecError
from fdkd_core.options import RunOptions, prepare_torch

MIN_WIDTH = 16
"""In channels-last, oneDNN writes past its buffer in the weight gradient of a 1x1 convolution of stride 2
with fewer input channels than a vector holds (8 with AVX2, 16 with AVX-512): hangs, crashes or wrong
gradients (uxlfoundation/oneDNN#6035)."""
LOSS_REPEATS = 10
"""Losses take a thousandth of a step: so many times more of them are timed."""


def measure_steps(workload: Workload, steps: int, rounds: int) -> list[Row]:
    """Time per step of every variant."""
    built = {name: build(workload) for name, build in variants(workload.device).items()}
    numbers = dict.fromkeys(built, 0)

    def one_step(name: str) -> None:
        built[name](numbers[name])
        numbers[name] += 1

    actions = {name: lambda name=name: one_step(name) for name in built}
    taken = interleave(actions, rounds=rounds, repeats=steps, warmup=2, device=workload.device)
    return [
        *time_rows("step_time", taken),
        *throughput_rows(taken, workload.batch_size),
        *ratio_rows("ratio_to_plain", taken, PLAIN),
    ]


def measure_waiting(workload: Workload, rounds: int) -> list[Row]:
    """Share of `fit` spent waiting for a batch, one run of each trainee per round."""
    actions = fit_actions(workload)
    runs = [(name, action()) for _ in range(rounds) for name, action in actions.items()]
    return [
        *(summarise("wait_share", n, "of wall", [w.share for m, w in runs if m == n]) for n in actions),
        *(summarise("fit_step_time", n, "ms", [w.step_ms for m, w in runs if m == n]) for n in actions),
    ]


def measure_losses(workload: Workload, steps: int, rounds: int) -> list[Row]:
    """Time of the losses alone."""
    taken = interleave(
        loss_actions(workload.batch_size, workload.device),
        rounds=rounds,
        repeats=LOSS_REPEATS * steps,
        warmup=5,
        device=workload.device,
    )
    return [*time_rows("loss_time", taken), *ratio_rows("ratio_to_cross_entropy", taken, CROSS_ENTROPY)]


def write_report(out: Path, rows: list[Row], machine: dict[str, str], workload: Workload) -> str:
    """Writes both files; returns the tables."""
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "step.csv", rows)
    body = tables(rows)
    about = (
        f"ResNet-18 of width {workload.width} (D = {8 * workload.width}) teaches and learns: "
        f"image 3x{SIDE}x{SIDE} to audio 1x{SIDE}x{SIDE}, batch {workload.batch_size}, {CLASSES} classes. "
        "Figures are medians with first to third quartile.\n\n"
        "Steps run on batches made beforehand, without loading; `ratio to plain` compares medians within a "
        "round. The networks' layout is channels-last on CPUs, but for the variant that says otherwise. "
        "Waiting is measured in `fit` with light augmentation, from the end of the first step on; there, "
        "making the next batch competes for the cores, so compare its step time with the one above. "
        f"Losses alone have D = {DIM}. Memory is the peak of a process that does nothing else.\n"
    )
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    (out / "step.md").write_text(
        f"# Speed of the training step\n\n{about}\n{body}\n\n## Machine\n\n{facts}\n"
    )
    return body


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="steps of each variant in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage of both networks")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.width < MIN_WIDTH:
        parser.error(f"--width must be at least {MIN_WIDTH}, found {options.width}")
    if min(options.threads, options.steps, options.rounds) < 1 or options.batch < 2:
        parser.error("--threads, --steps and --rounds must be at least 1, --batch at least 2")
    try:
        device, threads = prepare_torch(RunOptions(device=options.device, threads=options.threads))
    except SpecError as error:
        print(f"step.py: {error}", file=sys.stderr)
        return 2
    machine = describe_machine(device) | {"load average before": load_average()}
    # `fit` leaves its first step out, and one step between two ends is the least there is to time.
    workload = Workload(options.width, options.batch, options.steps + 1, device)

    print("peak memory, a process per variant", flush=True)
    rows = measure_memory(list(variants(device)), workload, threads)
    print(f"steps, {options.rounds} rounds", flush=True)
    rows += measure_steps(workload, options.steps, options.rounds)
    print("waiting for data", flush=True)
    rows += measure_waiting(workload, options.rounds)
    print("losses alone", flush=True)
    rows += measure_losses(workload, options.steps, options.rounds)
    rows += check_losses(options.batch, device)
    machine["load average after"] = load_average()

    print("\n" + write_report(options.out, rows, machine, workload))
    for name, value in machine.items():
        print(f"{name}: {value}")
    wrong = failures(rows)
    for line in wrong:
        print(f"FAILED {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
