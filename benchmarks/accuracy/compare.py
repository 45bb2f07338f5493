"""Accuracy of every method on real paired data, each with the same tuning budget.

    python benchmarks/accuracy/compare.py --data DIR [--only NAME] [--trials 8] [--seeds 5] --out results/

Every method, the control included, gets the same number of trials: a low-discrepancy sequence over
learning rate and loss weight, the same points for all. A trial trains with seed 0 and is judged on
validation; the best point is then trained with fresh seeds, whose test split is read once each. One teacher
per direction. Rows are appended to results/rows.csv as they come, so that the same command continues an
interrupted run.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from directions import DIRECTIONS, Direction, load

from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import TrainingDivergedError
from fdkd_core.models.base import ModelOutput
from fdkd_core.phases import Phase, evaluate_model, make_trainee
from fdkd_core.spec import (
    ArchitectureSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
    SGDSpec,
    TrainingSpec,
)
from fdkd_core.spec.result import SplitMetrics
from fdkd_core.training.evaluation import predict_rows
from fdkd_core.training.loop import Hooks, LoopState, Trainee, fit

CPU = torch.device("cpu")
SILENT = Hooks(lambda metrics: None, lambda: False, lambda state, must: None)
FIELDS = [
    "direction", "method", "seed", "lr", "weights", "trials",
    "val_accuracy", "test_accuracy", "test_macro_f1", "seconds", "val_macro_f1",
]  # fmt: skip

TEACHER_LR = 0.05
"""Stated, not the spec's default, so that the table stays reproducible when a default changes."""
LR_RANGE = (0.005, 0.5)
WEIGHT_RANGE = (0.3, 30.0)

METHODS = {
    "none": lambda weight: NoneSpec(),
    "logit_kd": lambda weight: LogitKDSpec(weight=weight),
    "feature_mse": lambda weight: FeatureMSESpec(weight=weight),
    "fd_cmkd": lambda weight: FDCMKDSpec(low_weight=weight, high_weight=0.1 * weight),
}


@dataclass(frozen=True)
class Point:
    """What is tuned."""

    lr: float
    weight: float


def points(trials: int) -> list[Point]:
    """The Halton sequence in bases 2 and 3 over both ranges, in logarithms."""

    def radical_inverse(index: int, base: int) -> float:
        result, share = 0.0, 1.0
        while index:
            share /= base
            result += share * (index % base)
            index //= base
        return result

    def within(share: float, low: float, high: float) -> float:
        return float(f"{math.exp(math.log(low) + share * math.log(high / low)):.3g}")

    return [
        Point(within(radical_inverse(i, 2), *LR_RANGE), within(radical_inverse(i, 3), *WEIGHT_RANGE))
        for i in range(1, trials + 1)
    ]


def train(
    data: PairedDataset,
    modality: str,
    architecture: ArchitectureSpec,
    training: TrainingSpec,
    method: MethodSpec,
    teacher_outputs: ModelOutput | None,
) -> tuple[Trainee, SplitMetrics]:
    """Trains one model; returns it with its best weights, and its validation figures."""
    phase = Phase(
        "student", modality, architecture, "/student/architecture", training, method, teacher_outputs
    )
    trainee = make_trainee(phase, data, CPU)
    state = fit(trainee, LoopState(), SILENT)
    trainee.model.load_state_dict(state.best_weights)
    return trainee, evaluate_model(trainee.model, data, modality, "val", CPU)[0]


def run_direction(direction: Direction, data_dir: Path, out: Path, trials: int, seeds: int) -> None:
    """All methods of one direction."""
    rows_path = out / "rows.csv"
    done = read_rows(rows_path)
    data = load(direction, data_dir)
    teacher, val = train(
        data, direction.teacher, direction.teacher_architecture,
        TrainingSpec(
            epochs=direction.teacher_epochs, optimizer=SGDSpec(lr=TEACHER_LR), select_by=direction.select_by
        ), NoneSpec(), None,
    )  # fmt: skip
    test, _ = evaluate_model(teacher.model, data, direction.teacher, "test", CPU)
    print(f"{direction.name}: teacher val {val.accuracy:.3f} test {test.accuracy:.3f}", flush=True)
    write_row(rows_path, done, [direction.name, "teacher", 0, TEACHER_LR, "", 0], val, test, 0.0)
    outputs = predict_rows(teacher.model, data.modalities[direction.teacher], data.splits["train"], CPU)

    for name, build in METHODS.items():
        if all((direction.name, name, str(seed)) in done for seed in range(1, seeds + 1)):
            continue

        def attempt(point: Point, seed: int, name: str = name, build=build) -> tuple[Trainee, SplitMetrics]:
            training = TrainingSpec(
                epochs=direction.epochs, optimizer=SGDSpec(lr=point.lr), seed=seed,
                select_by=direction.select_by,
            )  # fmt: skip
            given = None if name == "none" else outputs
            return train(
                data, direction.student, direction.student_architecture, training, build(point.weight), given
            )

        found = []
        for point in points(trials):
            try:
                figures = attempt(point, seed=0)[1]
            except TrainingDivergedError:
                continue
            found.append((getattr(figures, direction.select_by), point))
            print(f"  {name} {point} val {figures.accuracy:.4f} f1 {figures.macro_f1:.4f}", flush=True)
        _, best = max(found, key=lambda pair: pair[0])
        for seed in range(1, seeds + 1):
            started = time.monotonic()
            trainee, val = attempt(best, seed)
            test, _ = evaluate_model(trainee.model, data, direction.student, "test", CPU)
            weights = "" if name == "none" else str(best.weight)
            write_row(
                rows_path, done, [direction.name, name, seed, best.lr, weights, trials],
                val, test, time.monotonic() - started,
            )  # fmt: skip
            print(f"  {name} seed {seed}: val {val.accuracy:.4f} test {test.accuracy:.4f}", flush=True)


def read_rows(path: Path) -> set[tuple[str, str, str]]:
    """Which (direction, method, seed) are there already."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {(row["direction"], row["method"], row["seed"]) for row in csv.DictReader(file)}


def write_row(
    path: Path,
    done: set[tuple[str, str, str]],
    key: list[object],
    val: SplitMetrics,
    test: SplitMetrics,
    seconds: float,
) -> None:
    """Appends one row unless it is there."""
    if (str(key[0]), str(key[1]), str(key[2])) in done:
        return
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(FIELDS)
        figures = [val.accuracy, test.accuracy, test.macro_f1]
        writer.writerow([*key, *(f"{x:.4f}" for x in figures), f"{seconds:.1f}", f"{val.macro_f1:.4f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--only", action="append", help="name of a direction; repeat for several")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    for direction in DIRECTIONS:
        if not options.only or direction.name in options.only:
            run_direction(direction, options.data, options.out, options.trials, options.seeds)


if __name__ == "__main__":
    main()
