"""The recipe of the authors' script on a CPU: a ResNet-18 from scratch for 100 epochs, with fewer channels.

    python benchmarks/accuracy/paper_recipe.py --data DIR [--width 16] [--seeds 5] [--epochs 100]
        [--lr RATE] [--split K] [--processes 2] [--out results/] [--report]

SGD with momentum 0.9 and no weight decay, poly 0.9, batches of 64, the audio student's stem the published one (7x7,
stride 2). Every method is trained at the authors' rate, 0.01, and at ten times that, with the same seeds; `--report`
prints both, and for each method the rate that validation prefers. The data are avdigits with a tenth of its training rows,
image -> audio: the rest of that direction takes ten times as long. One row per training in `paper-recipe.csv`, which is added to:
what stands there is not run again. With `--split` the speakers are divided anew, by as many divisions as the table `splits`
has, each with a teacher of its own; `--report` has them in a table below. `tables.py --recipe paper` has the whole network, tuned as the other tables: for a GPU.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from directions import DIRECTIONS, Direction, dataset_file, resplit
from row_file import append
from trainings import CPU, train

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import TrainingDivergedError
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import (
    FD_CMKD_WITH_LOGITS,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
    PKDSpec,
    ResNet18Spec,
    SGDSpec,
    TrainingSpec,
)
from fdkd_core.spec.figures import SplitMetrics
from fdkd_core.studies.statistics import estimate
from fdkd_core.training.evaluation import evaluate_model, predict_rows

FIELDS = ("split", "method", "lr", "seed", "width", "epochs", "val", "test", "seconds")
TEACHER = "teacher"
CONTROL = "none"
RATES = (0.01, 0.1)
METHODS: dict[str, MethodSpec] = {
    CONTROL: NoneSpec(),
    "logit_kd": LogitKDSpec(),
    "feature_mse": FeatureMSESpec(),
    "pkd": PKDSpec(),
    "fd_cmkd": FDCMKDSpec(),
    "fd_cmkd balanced": FDCMKDSpec(balance="gradient_norm"),
    "fd_cmkd as published": FDCMKDSpec(high_weight=1.0, log_scale=1.0, reduction="mean"),
    "fd_cmkd + logit_kd": FD_CMKD_WITH_LOGITS,
}
"""`balanced`: weights as ratios of gradient norms. `as published`: equal weights, s(x) unscaled, distances
averaged over the channels."""


@dataclass(frozen=True)
class Run:
    """One training of a student."""

    found: Direction
    data: Path
    method: str
    lr: float
    seed: int
    answers: tuple[np.ndarray, np.ndarray]
    """The teacher's features and logits of the training rows."""


def direction(width: int, epochs: int, split: int = 0) -> Direction:
    """The reported one with a tenth of the rows, with the networks and the length of the recipe."""
    found = next(each for each in DIRECTIONS if each.name == "avdigits image->audio 10%")
    return replace(
        resplit(found, split) if split else found,
        teacher_architecture=ResNet18Spec(width=width),
        student_architecture=ResNet18Spec(width=width, stem="large"),
        epochs=epochs,
        teacher_epochs=epochs,
    )


def teach(found: Direction, file: Path) -> tuple[dict[str, object], tuple[np.ndarray, np.ndarray]]:
    """Trains the teacher at the authors' rate; returns its row, and what it says of the training rows."""
    torch.set_num_threads(1)  # others may be at work; threads that wait for each other spin
    data, start = _load(found, file), time.perf_counter()
    training = TrainingSpec(epochs=found.teacher_epochs, optimizer=SGDSpec(lr=RATES[0]))
    teacher, on_val = train(data, found.teacher, found.teacher_architecture, training, NoneSpec(), None)
    seconds = time.perf_counter() - start
    on_test, _ = evaluate_model(teacher.model, data, found.teacher, "test", CPU)
    said = predict_rows(teacher.model, data.modalities[found.teacher], data.splits["train"], CPU)
    row = _row(found, TEACHER, RATES[0], 0, on_val, on_test, seconds)
    return row, (said.features.numpy(), said.logits.numpy())


def learn(run: Run) -> dict[str, object] | str:
    """Trains a student; returns its row, or what to say where it diverged."""
    torch.set_num_threads(1)
    found, start = run.found, time.perf_counter()
    data = _load(found, run.data)
    training = TrainingSpec(epochs=found.epochs, seed=run.seed, optimizer=SGDSpec(lr=run.lr))
    features, logits = map(torch.from_numpy, run.answers)
    outputs = None if run.method == CONTROL else ModelOutput(features, logits)
    try:
        student, on_val = train(
            data, found.student, found.student_architecture, training, METHODS[run.method], outputs
        )
    except TrainingDivergedError as error:
        return f"{run.method}, lr {run.lr}, seed {run.seed}: {error}"
    seconds = time.perf_counter() - start
    on_test, _ = evaluate_model(student.model, data, found.student, "test", CPU)
    return _row(found, run.method, run.lr, run.seed, on_val, on_test, seconds)


def _load(found: Direction, file: Path) -> PairedDataset:
    return load_dataset(file, [found.teacher, found.student], manifest=found.manifest)


def _row(
    found: Direction,
    method: str,
    lr: float,
    seed: int,
    on_val: SplitMetrics,
    on_test: SplitMetrics,
    seconds: float,
) -> dict[str, object]:
    assert isinstance(found.student_architecture, ResNet18Spec)
    figures = [f"{getattr(on, found.select_by):.4f}" for on in (on_val, on_test)]
    width = found.student_architecture.width
    told = (found.split, method, lr, seed, width, found.epochs, *figures, f"{seconds:.0f}")
    return dict(zip(FIELDS, told, strict=True))


def main() -> None:
    """Runs what is not there yet, or reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--method", action="append", choices=METHODS, help="repeat for several")
    parser.add_argument("--lr", action="append", type=float, help="repeat for several; default: 0.01 and 0.1")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--split", type=int, default=0, help="division of the speakers; 0: the files' own")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    target: Path = given.out / "paper-recipe.csv"
    rows = list(csv.DictReader(target.open())) if target.exists() else []
    if given.report:
        print(report([row for row in rows if int(row["split"]) == 0]))
        print("\n" + divisions([row for row in rows if int(row["split"]) > 0], RATES[1]))
        return
    rows = [row for row in rows if int(row["split"]) == given.split]
    done = {(row["method"], float(row["lr"]), int(row["seed"])) for row in rows}
    found = direction(given.width, given.epochs, given.split)
    with tempfile.TemporaryDirectory() as work:
        file = dataset_file(found, given.data, Path(work))
        row, answers = teach(found, file)
        if (TEACHER, RATES[0], 0) not in done:
            append(target, FIELDS, [row])
        runs = [
            Run(found, file, method, lr, seed, answers)
            for seed in range(given.seeds)
            for method in given.method or METHODS
            for lr in given.lr or RATES
            if (method, lr, seed) not in done
        ]
        with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
            for told in pool.imap_unordered(learn, runs, chunksize=1):
                if isinstance(told, str):
                    print(told, flush=True)
                else:
                    append(target, FIELDS, [told])


def report(rows: list[dict[str, str]]) -> str:
    """Test figures of each method at each rate and at the one of its own, beside the control's.

    The rate of its own is the one of the better mean on validation, over the seeds that ran at all rates. Differences
    are paired by seed, with half of the 95 % interval over seeds: in brackets to the control at the same rate, in the last
    column to the control at the control's own.
    """
    figures: dict[str, dict[float, dict[int, tuple[float, float]]]] = {}
    for row in rows:
        by_seed = figures.setdefault(row["method"], {}).setdefault(float(row["lr"]), {})
        by_seed[int(row["seed"])] = 100 * float(row["val"]), 100 * float(row["test"])
    teacher = figures.pop(TEACHER)[RATES[0]][0][1]
    own = {method: _own_rate(by_rate) for method, by_rate in figures.items()}
    control = figures[CONTROL][own[CONTROL]]
    lines = [
        f"teacher {teacher:.1f}",
        "",
        f"| method | {' | '.join(f'lr {lr:g}' for lr in RATES)} | own lr | minus control |",
        "|---|" + "---:|" * (len(RATES) + 2),
    ]
    for method, by_rate in figures.items():
        cells = [_spread([test for _, test in by_rate.get(lr, {}).values()]) for lr in RATES]
        last = ""
        if method != CONTROL:
            beside = [figures[CONTROL].get(lr, {}) for lr in RATES]
            gains = [_gain(by_rate.get(lr, {}), found) for lr, found in zip(RATES, beside, strict=True)]
            cells = [f"{cell} ({gain})" for cell, gain in zip(cells, gains, strict=True)]
            last = _gain(by_rate[own[method]], control)
        lines.append(f"| {method} | {' | '.join(cells)} | {own[method]:g} | {last} |")
    return "\n".join(lines)


def divisions(rows: list[dict[str, str]], lr: float) -> str:
    """Test figures of each division of the speakers at one rate, and what each method gains over another.

    A division counts by its mean over the seeds that all of its methods ran with. The last rows are means over divisions: of the figure, and of the difference to
    the control, to feature MSE and to PKD, with half of the 95 % interval over divisions, and on how many it is positive.
    """
    found: dict[int, dict[str, dict[int, float]]] = {}
    for row in rows:
        by_method = found.setdefault(int(row["split"]), {})
        if row["method"] == TEACHER or float(row["lr"]) == lr:
            by_method.setdefault(row["method"], {})[int(row["seed"])] = 100 * float(row["test"])
    means = {}
    for split, of in sorted(found.items()):
        seeds = set.intersection(*(set(values) for method, values in of.items() if method != TEACHER))
        means[split] = {
            method: mean(value for seed, value in values.items() if method == TEACHER or seed in seeds)
            for method, values in of.items()
        }
    methods = [m for m in (TEACHER, *METHODS) if all(m in of for of in means.values())]
    lines = [f"| division | {' | '.join(methods)} |", "|---|" + "---:|" * len(methods)]
    lines += [
        f"| {split} | {' | '.join(f'{of[method]:.1f}' for method in methods)} |"
        for split, of in means.items()
    ]
    lines.append(
        "| mean | " + " | ".join(f"{mean(of[m] for of in means.values()):.1f}" for m in methods) + " |"
    )
    for other in (CONTROL, "feature_mse", "pkd"):
        cells = []
        for method in methods:
            gains = [of[method] - of[other] for of in means.values()]
            is_told = method not in (TEACHER, other)
            ahead = f"{_spread(gains, '+')}, ahead on {sum(gain > 0 for gain in gains)} of {len(gains)}"
            cells.append(ahead if is_told else "")
        lines.append(f"| minus {other} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _gain(mine: dict[int, tuple[float, float]], control: dict[int, tuple[float, float]]) -> str:
    return _spread([mine[seed][1] - control[seed][1] for seed in sorted(mine.keys() & control.keys())], "+")


def _own_rate(by_rate: dict[float, dict[int, tuple[float, float]]]) -> float:
    common = set.intersection(*(set(found) for found in by_rate.values()))
    return max(by_rate, key=lambda lr: mean(by_rate[lr][seed][0] for seed in common) if common else 0.0)


def _spread(values: list[float], sign: str = "") -> str:
    if not values:
        return "-"
    found = estimate(values)
    return f"{found.mean:{sign}.1f}" + (f" ± {found.high - found.mean:.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
