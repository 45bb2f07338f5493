"""Variants of FD-CMKD on directions that no table reports: where its default may be chosen, test figures and all.

    python benchmarks/accuracy/development.py --data DIR [--variant V] [--lr 0.1] [--splits 3]
        [--seeds 2] [--only DIRECTION] [--epochs N] [--few-labels] [--processes 2] [--out results/]

Every variant is trained on each direction, in several divisions of its subjects or videos with a teacher of their
own, at fixed learning rates, with the same seeds. One row per training in `development.csv`, which is added to: what
stands there is not run again. A training that diverges is said, and has no row. `--report` prints the variants beside
the control and feature MSE, each at the rate that validation prefers where all its rates have run. With `--epochs`
students train so long, with `--few-labels` a tenth of the training rows have a label, in rows of their own, and such
rows are reported; with `--lr` at those rates alone. `--moves` prints what tuning the rate gives (docs/decisions/0036).
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch
from directions import DEVELOPMENT_MORE, Direction, dataset_file, few_labels, resplit
from row_file import append
from trainings import CPU, train

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import TrainingDivergedError
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import (
    FD_CMKD_WITH_LOGITS,
    CombinedPart,
    CombineSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
    PKDSpec,
    SGDSpec,
    TrainingSpec,
)
from fdkd_core.spec.methods.base import WeightScheduleSpec
from fdkd_core.training.evaluation import evaluate_model, predict_rows

FIELDS = ("direction", "variant", "lr", "seed", "val", "test")
MARGINS = (0.0, 0.5, 1.0, 2.0, 3.0)
FIRST_SPLIT = 11
"""Divisions of numbers that the table `splits` does not have."""
BY_CLASS = [replace(found, name=f"{found.name} by class") for found in DEVELOPMENT_MORE[:8]]
_DECAY = WeightScheduleSpec(decay="linear")
_LATE = WeightScheduleSpec(warmup_frac=0.5)
_DISTANCES = {"shared_classifier": False, "band_heads": False}


def _fd(**changes: object) -> FDCMKDSpec:
    return FDCMKDSpec().model_copy(update=changes)


def _balanced(**changes: object) -> FDCMKDSpec:
    return _fd(**changes).model_copy(update={"balance": "gradient_norm"})


VARIANTS: dict[str, MethodSpec] = {
    "none": NoneSpec(),
    "feature_mse": FeatureMSESpec(),
    "pkd": PKDSpec(),
    "logit_kd": LogitKDSpec(),
    "default": _fd(),
    "with logit KD": FD_CMKD_WITH_LOGITS,
    "decay": _fd(weight_schedule=_DECAY),
    "late": _fd(weight_schedule=_LATE),
    **{f"cutoff {cutoff:g}": _fd(cutoff=cutoff) for cutoff in (0.05, 0.25, 0.75, 0.95)},
    "dct": _fd(basis="dct"),
    "random": _fd(basis="random"),
    "pca": _fd(basis="pca"),
    "class": _fd(basis="class"),
    "pca, cutoff 0.1": _fd(basis="pca", cutoff=0.1),
    "balanced": _balanced(),  # rows of "balanced, unbounded", and of variants of it, are from before decision 37's bound
    "pca, balanced": _fd(basis="pca", balance="gradient_norm"),
    "class, balanced": _fd(basis="class", balance="gradient_norm"),
    "balanced, all 0.5": _balanced(low_weight=0.5, high_weight=0.05, align_weight=0.5, band_head_weight=0.5),
    "balanced, all 2": _balanced(low_weight=2.0, high_weight=0.2, align_weight=2.0, band_head_weight=2.0),
    "balanced, classifiers 0.3": _balanced(align_weight=0.3, band_head_weight=0.3),
    "balanced, without heads": _balanced(band_heads=False),
    "balanced, without shared": _balanced(shared_classifier=False),
    "balanced, high 1": _balanced(high_weight=1.0),
    "balanced, dct": _balanced(basis="dct"),
    "balanced, decay": _balanced(weight_schedule=_DECAY),
    "balanced beside logit KD": CombineSpec(
        parts=(CombinedPart(method=_balanced()), CombinedPart(method=LogitKDSpec()))
    ),
    "balanced, with logit KD": CombineSpec(
        parts=(CombinedPart(method=_balanced()), CombinedPart(method=LogitKDSpec(balance="gradient_norm")))
    ),
    "balanced, 3": _fd(balance="gradient_norm", low_weight=3.0, high_weight=0.3),
    "MSE balanced": FeatureMSESpec(balance="gradient_norm"),
    "calm": _fd(high_weight=0.3, align_weight=0.4, band_head_weight=0.5),
    "weights 3": _fd(low_weight=3.0, high_weight=0.3),
    "projector": _fd(projector="linear"),
    "distances": _fd(**_DISTANCES),
    "distances, 3": _fd(**_DISTANCES, low_weight=3.0, high_weight=0.3),
    "distances, balanced": _fd(**_DISTANCES, balance="gradient_norm"),
    "distances, pca": _fd(**_DISTANCES, basis="pca"),
    "distances, pca, balanced": _fd(**_DISTANCES, basis="pca", balance="gradient_norm"),
    "distances, class": _fd(**_DISTANCES, basis="class"),
    "classifiers": _fd(low_weight=0.0, high_weight=0.0),
    "without heads": _fd(band_heads=False),
}


@dataclass(frozen=True)
class Task:
    """All trainings of one direction in one division."""

    direction: Direction
    data_dir: Path
    work: Path
    variants: tuple[str, ...]
    rates: tuple[float, ...]
    seeds: int
    done: frozenset[tuple[str, str, float, int]]
    by_class: bool = False
    """The teacher sees some row of the same class, as where data are paired by class alone."""


def rows_of(task: Task) -> list[dict[str, object]]:
    """One row per training that is not done yet."""
    torch.set_num_threads(1)
    found = task.direction
    wanted = [
        (variant, lr, seed)
        for variant in task.variants for lr in task.rates for seed in range(task.seeds)
        if (found.name, variant, lr, seed) not in task.done
    ]  # fmt: skip
    if not wanted:
        return []
    data = load_dataset(dataset_file(found, task.data_dir, task.work), [found.teacher, found.student])
    outputs = _taught(found, data)
    if task.by_class:
        mates = _mates(data)
        outputs = ModelOutput(outputs.features[mates], outputs.logits[mates])
    rows = []
    for variant, lr, seed in wanted:
        try:
            rows.append(_row(found, data, outputs, variant, lr, seed))
        except TrainingDivergedError as error:
            print(f"{found.name}, {variant}, lr {lr}, seed {seed}: {error}", flush=True)
    return rows


def _taught(found: Direction, data: PairedDataset) -> ModelOutput:
    """What the direction's teacher says of the training rows."""
    training = TrainingSpec(epochs=found.teacher_epochs, select_by=found.select_by)
    teacher, _ = train(data, found.teacher, found.teacher_architecture, training, NoneSpec(), None)
    return predict_rows(teacher.model, data.modalities[found.teacher], data.splits["train"], CPU)


def _mates(data: PairedDataset) -> torch.Tensor:
    """For each training row the place of one of its class, each taken once."""
    labels = torch.as_tensor(data.labels[data.splits["train"]])
    generator = torch.Generator().manual_seed(0)
    mates = torch.arange(len(labels))
    for label in set(labels.tolist()):
        places = torch.nonzero(labels == label).flatten()
        mates[places] = places[torch.randperm(len(places), generator=generator)]
    return mates


def _row(
    found: Direction, data: PairedDataset, outputs: ModelOutput, variant: str, lr: float, seed: int
) -> dict[str, object]:
    method = VARIANTS[variant]
    training = TrainingSpec(
        epochs=found.epochs, select_by=found.select_by, seed=seed, optimizer=SGDSpec(lr=lr)
    )
    given = None if isinstance(method, NoneSpec) else outputs
    student, on_val = train(data, found.student, found.student_architecture, training, method, given)
    on_test, _ = evaluate_model(student.model, data, found.student, "test", CPU)
    figures = [f"{getattr(split, found.select_by):.4f}" for split in (on_val, on_test)]
    return dict(zip(FIELDS, (found.name, variant, lr, seed, *figures), strict=True))


def main() -> None:
    """Runs what is asked for and is not there yet, or reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="repeat for several")
    parser.add_argument("--lr", action="append", type=float, help="repeat for several; default: 0.1")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", action="append", help="name of a direction; repeat for several")
    parser.add_argument("--epochs", type=int, help="of the students, instead of the direction's own")
    parser.add_argument("--few-labels", action="store_true", help="of phones and watches alone")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report", action="store_true")
    parser.add_argument(
        "--moves", action="store_true", help="report what leaving rate 0.1 for the best gives"
    )
    options = parser.parse_args()
    target: Path = options.out / "development.csv"
    rows = list(csv.DictReader(target.open())) if target.exists() else []
    if options.report:
        rates = options.lr or {float(row["lr"]) for row in rows}
        rows = [row for row in rows if float(row["lr"]) in rates]
        print(report(of_setting(rows, options.epochs, few_labels=options.few_labels)))
        return
    if options.moves:
        print(moves(rows, 0.1, MARGINS))
        return
    done = frozenset((row["direction"], row["variant"], float(row["lr"]), int(row["seed"])) for row in rows)
    with tempfile.TemporaryDirectory() as work:
        tasks = [
            Task(
                lengthened(resplit(made, number), options.epochs), options.data, Path(work), tuple(options.variant or VARIANTS),
                tuple(options.lr or [0.1]), options.seeds, done, direction in BY_CLASS,
            )
            for number in range(FIRST_SPLIT, FIRST_SPLIT + options.splits)
            for direction in [*DEVELOPMENT_MORE, *BY_CLASS]
            if not options.only or direction.name in options.only
            if not options.few_labels or direction.path.startswith("phone_watch_har")
            for made in ([few_labels(direction)] if options.few_labels else [direction])
        ]  # fmt: skip
        for task in tasks:
            dataset_file(task.direction, task.data_dir, task.work)
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            for found in pool.imap_unordered(rows_of, tasks, chunksize=1):
                append(target, FIELDS, found)


def lengthened(found: Direction, epochs: int | None) -> Direction:
    """The same with so many epochs of the student, and a name that says so."""
    return found if epochs is None else replace(found, name=f"{found.name}, {epochs} epochs", epochs=epochs)


def of_setting(rows: list[dict[str, str]], epochs: int | None, *, few_labels: bool) -> list[dict[str, str]]:
    """Those of students of so many epochs, or of the directions' own; with few labels, or all."""

    def is_wanted(name: str) -> bool:
        has_length = not name.endswith(" epochs") if epochs is None else name.endswith(f", {epochs} epochs")
        return has_length and ("10% labels" in name) == few_labels

    return [row for row in rows if is_wanted(row["direction"])]


def moves(rows: list[dict[str, str]], stated: float, margins: Sequence[float]) -> str:
    """What it gives to leave a stated rate for the best on validation, if that is ahead by more than a margin.

    Over trainings of one variant, direction and seed of which three rates and more have run, the stated among them.

    Args:
        rows: Of `development.csv`.
        stated: The rate that is kept otherwise.
        margins: In points on validation.
    """
    figures: dict[tuple[str, str, str], dict[float, tuple[float, float]]] = defaultdict(dict)
    for row in rows:
        by_rate = figures[row["variant"], row["direction"], row["seed"]]
        by_rate[float(row["lr"])] = 100 * float(row["val"]), 100 * float(row["test"])
    choices = [found for found in figures.values() if len(found) > 2 and stated in found]
    lines = ["| ahead on validation by more than | moved | test, to the stated rate |", "|---:|---:|---:|"]
    for margin in margins:
        gains, moved = [], 0
        for found in choices:
            best = max(found, key=lambda lr: found[lr][0])
            leaves = best != stated and found[best][0] - found[stated][0] > margin
            moved += leaves
            gains.append(found[best][1] - found[stated][1] if leaves else 0.0)
        error = stdev(gains) / len(gains) ** 0.5
        lines.append(f"| {margin:g} | {moved} of {len(gains)} | {mean(gains):+.2f} ± {error:.2f} |")
    return "\n".join(lines)


def report(rows: list[dict[str, str]]) -> str:
    """Mean test figure of each variant at the rate that its validation figures prefer, and differences."""
    figures: dict[str, dict[float, dict[tuple[str, int], tuple[float, float]]]] = defaultdict(dict)
    for row in rows:
        place = row["direction"], int(row["seed"])
        by_rate = figures[row["variant"]].setdefault(float(row["lr"]), {})
        by_rate[place] = 100 * float(row["val"]), 100 * float(row["test"])
    best = {}
    for variant, rates in figures.items():
        common = set.intersection(*(set(found) for found in rates.values()))
        on_val = {lr: mean(found[place][0] for place in common) for lr, found in rates.items() if common}
        rate = max(on_val, key=on_val.__getitem__, default=next(iter(rates)))
        best[variant] = rate, {place: test for place, (_, test) in rates[rate].items()}
    control = best["none"][1].keys()
    lines = [
        "| variant | lr | test | minus control | minus feature MSE | directions above both |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for variant, (rate, tests) in best.items():
        above = [difference(tests, best[other][1]) for other in ("none", "feature_mse")]
        both = above[0][1].keys() & above[1][1].keys()
        wins = sum(all(by[name] > 0 for _, by in above) for name in both)
        cells = [f"{value:+.1f} ± {error:.1f}" for (value, error), _ in above]
        lines.append(
            f"| {variant} | {rate:g} | {mean(tests[place] for place in tests.keys() & control):.1f} | {' | '.join(cells)} | "
            f"{wins} of {len(both)} |"
        )
    return "\n".join(lines)


def difference(
    one: dict[tuple[str, int], float], other: dict[tuple[str, int], float]
) -> tuple[tuple[float, float], dict[str, float]]:
    """Mean difference with its standard error over divided directions, and that of each direction."""
    by_split: dict[str, list[float]] = defaultdict(list)
    for place in one.keys() & other.keys():
        by_split[place[0]].append(one[place] - other[place])
    units = {name: mean(found) for name, found in by_split.items()}
    by_direction: dict[str, list[float]] = defaultdict(list)
    for name, value in units.items():
        by_direction[name.split(",")[0]].append(value)
    error = stdev(units.values()) / len(units) ** 0.5 if len(units) > 1 else float("nan")
    return (mean(units.values()), error), {name: mean(found) for name, found in by_direction.items()}


if __name__ == "__main__":
    main()
