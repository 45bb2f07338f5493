"""How much of what the device could do a training step does, and how long it waits for data.

    python benchmarks/speed/roofline.py [--device cuda] [--width 64] [--batch 64] [--out benchmarks/speed/results]

Meant for a GPU; on a CPU the figures are those of the machine's load as much as of the code. The roof is
measured here too, not read from a data sheet: the rate of a large matrix product in each precision, and that of
a copy. A step's operations are counted (convolutions and matrix products, forward and backward: three times
the forward), its bytes are the least that it must move: weights read twice, gradients written and read, the
optimiser's state and weights read and written, activations written, read and their gradients too. Attainable is
the smaller of the product's rate and intensity times the copy's rate (Williams et al. 2009).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data_wait import measure_wait
from machine import describe_machine, load_average
from timing import interleave
from torch import Tensor
from variants import fd_cmkd_cached, plain
from workload import SIDE, Precision, Workload

from fdkd_core.errors import SpecError
from fdkd_core.memory_layout import is_channels_last
from fdkd_core.models.cost import multiply_adds, parameter_count
from fdkd_core.options import RunOptions, prepare_torch
from fdkd_core.spec import FDCMKDSpec

BACKWARD = 3
"""Forward and backward, in forwards."""
WEIGHT_TRAFFIC = 2 + 2 + 4
"""Of each weight: read by forward and backward; gradient written and read; weight and momentum read and written."""
ACTIVATION_TRAFFIC = 4
"""Of each activation: written, read by backward; its gradient written and read."""


@dataclass(frozen=True)
class Roof:
    """What the device does at best, as measured."""

    product_flops: float
    """Of a large matrix product, operations a second."""
    copy_bytes: float
    """Read and written by a copy, bytes a second."""

    def attainable(self, flops: float, moved: float) -> float:
        """Operations a second that a step of so many operations and bytes can reach."""
        return min(self.product_flops, self.copy_bytes * flops / moved)


@dataclass(frozen=True)
class Line:
    """One variant of a step."""

    variant: str
    precision: str
    step_ms: float
    gflop: float
    mbytes: float
    """Least that a step moves."""
    achieved_tflops: float
    roof_tflops: float
    """Attainable at the step's intensity."""
    share_of_roof: float
    samples_per_s: float


def measure_roof(device: torch.device, precision: Precision, size: int, rounds: int) -> Roof:
    """Times a product of `size` x `size` matrices, and a copy of 16 384 numbers for each of their rows."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    first, second = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    source = torch.randn(64 * size * 256, device=device)
    target = torch.empty_like(source)
    actions: dict[str, Callable[[], object]] = {
        "product": lambda: first @ second,
        "copy": lambda: target.copy_(source),
    }
    taken = interleave(actions, rounds=rounds, repeats=5, warmup=3, device=device)
    best_s = {name: float(np.min(times)) / 1000 for name, times in taken.items()}
    return Roof(2 * size**3 / best_s["product"], 2 * source.nbytes / best_s["copy"])


def step_cost(workload: Workload, precision: Precision) -> tuple[float, float]:
    """Operations and least bytes of a training step of the student."""
    model = workload.model("audio").eval()
    activations = 0

    def count(module: object, inputs: object, output: object) -> None:
        nonlocal activations
        activations += output.numel() if isinstance(output, Tensor) else 0

    hooks = [m.register_forward_hook(count) for m in model.modules() if not list(m.children())]
    with torch.no_grad():
        model(torch.zeros(1, 1, SIDE, SIDE, device=workload.device))
    for hook in hooks:
        hook.remove()
    flops = 2.0 * BACKWARD * workload.batch_size * multiply_adds(model, (1, SIDE, SIDE))
    width = 2 if precision == "bf16" else 4
    weights = 4 * WEIGHT_TRAFFIC * parameter_count(model)
    return flops, weights + width * ACTIVATION_TRAFFIC * workload.batch_size * activations


def measure(
    workload: Workload, precisions: list[Precision], size: int, rounds: int, steps: int
) -> list[Line]:
    """Each variant in each precision, in turns."""
    lines = []
    for precision in precisions:
        roof = measure_roof(workload.device, precision, size, rounds)
        built = {
            "plain student": plain(workload, precision),
            "FD-CMKD, cached teacher": fd_cmkd_cached(workload, precision),
        }
        numbers = dict.fromkeys(built, 0)

        def one_step(name: str, built: dict[str, Any] = built, numbers: dict[str, int] = numbers) -> None:
            built[name](numbers[name])
            numbers[name] += 1

        actions = {name: lambda name=name: one_step(name) for name in built}
        taken = interleave(actions, rounds=rounds, repeats=steps, warmup=3, device=workload.device)
        flops, moved = step_cost(workload, precision)
        for name, times in taken.items():
            seconds = float(np.median(times)) / 1000
            attainable = roof.attainable(flops, moved)
            lines.append(
                Line(
                    name, precision, 1000 * seconds, flops / 1e9, moved / 1e6, flops / seconds / 1e12,
                    attainable / 1e12, flops / seconds / attainable, workload.batch_size / seconds,
                )
            )  # fmt: skip
    return lines


def waiting(workload: Workload, precision: Precision) -> dict[str, float]:
    """Share of `fit` spent waiting for a batch."""
    outputs = workload.cached_outputs()
    trainees = {
        "plain student": workload.trainee("audio", precision=precision),
        "FD-CMKD, cached teacher": workload.trainee("audio", FDCMKDSpec(), outputs, precision=precision),
        "plain image student": workload.trainee("image", precision=precision),
    }
    return {name: measure_wait(trainee).share for name, trainee in trainees.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10, help="of each variant in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--matrix", type=int, help="side of the matrix product (default: 8192, on a CPU 1024)"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    try:
        device, _ = prepare_torch(RunOptions(device=given.device, threads=given.threads))
    except SpecError as error:
        print(f"roofline.py: {error}", file=sys.stderr)
        return 2
    on_gpu = device.type == "cuda"
    precisions: list[Precision] = ["fp32", "bf16"] if on_gpu else ["fp32"]
    workload = Workload(given.width, given.batch, given.steps + 1, device)
    lines = measure(
        workload, precisions, given.matrix or (8192 if on_gpu else 1024), given.rounds, given.steps
    )
    shares = waiting(workload, precisions[-1])

    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / f"roofline-{device.type}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(lines[0])))
        writer.writeheader()
        writer.writerows(asdict(line) for line in lines)
    machine = describe_machine(device) | {"load average": load_average()}
    machine["channels-last"] = str(is_channels_last(workload.trainee("audio").model))
    text = report(lines, shares, machine)
    (given.out / f"roofline-{device.type}.md").write_text(text)
    print(text)
    return 0


def report(lines: list[Line], shares: dict[str, float], machine: dict[str, str]) -> str:
    """Both tables, and what they were measured on."""
    rows = [
        f"| {x.variant} | {x.precision} | {x.step_ms:.2f} | {x.gflop:.1f} | {x.mbytes:.0f} | {x.achieved_tflops:.3f} "
        f"| {x.roof_tflops:.3f} | {100 * x.share_of_roof:.0f} | {x.samples_per_s:.0f} |"
        for x in lines
    ]
    parts = [
        "# Achieved against roofline",
        "",
        "| variant | precision | step ms | GFLOP | MB moved at least | TFLOP/s | attainable TFLOP/s | % of it | samples/s |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        "| `fit` | % of wall time waiting for a batch |",
        "|---|---:|",
        *(f"| {name} | {100 * share:.1f} |" for name, share in shares.items()),
        "",
        *(f"- {name}: {value}" for name, value in machine.items()),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
