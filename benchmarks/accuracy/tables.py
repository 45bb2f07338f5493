"""The rows of the accuracy tables, on real paired data, each method tuned with the same budget.

    python benchmarks/accuracy/tables.py --data DIR --table methods|ablation|controls|few-labels|splits|long|again|more-seeds|as-wide|as-wide-long|auto
        [--only DIRECTION] [--arm NAME] [--trials 6] [--seeds 5] [--processes 2] [--out results/]
        [--recipe paper] [--device cuda] [--epochs N] [--folds 5] [--split K]

Every arm is a job of kind `study`, as a user would post it: so many trials of the method over learning rate,
weights and its own parameters, the same points for all, judged on validation; then the best of them anew with
fresh seeds, whose test split is read once each. The table `auto` runs distill jobs that choose their method
themselves, with `--folds` by cross-validation over subjects, speakers or videos; its rows are the final runs of
what was chosen. One teacher per direction, trained once, given to
all. Jobs keep their folders below --work: the same command continues where it was stopped.

The table `splits` divides the subjects, speakers or videos anew, so many times, each with a teacher and a tuning of
its own. The table `long` trains the students of `methods` for three times as many epochs; their
teachers are trained as there. The tables `again`, `more-seeds` (with `--seeds 20`) and `as-wide` (with `--seeds 10`) have
the directions of `methods`, the last with students as wide as their teachers; `as-wide-long` trains those for three times
as many epochs. In these five a trial is taken instead of the
method as stated only if it is ahead on validation by more than the standard error over subjects, speakers or videos
(docs/decisions/0036).

`--recipe paper` has ResNet-18 for teacher and student and 100 epochs, on the directions that it can read; it is
meant for `--device cuda --processes 1`.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arms import TABLES
from directions import (
    AS_WIDE,
    AS_WIDE_LONG,
    DEVELOPMENT,
    DIRECTIONS,
    FEW_LABELS,
    LONG,
    PAPER,
    Direction,
    dataset_file,
    grouped_file,
    resplit,
)

from fdkd_core.errors import FDKDError
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import load_spec
from fdkd_core.spec.figures import ClassificationMetrics
from fdkd_core.spec.result import FinalRun, RunResult, StudyResult

FIELDS = [
    "direction", "method", "seed", "lr", "weights", "trials",
    "val_metric", "test_metric", "test_macro_f1", "seconds", "metric", "test_accuracy",
]  # fmt: skip
TEACHER = "teacher"
WITH_TEACHERS = ("methods", "few-labels", "splits", "long", "again", "more-seeds", "as-wide", "as-wide-long")
"""Tables in which the teacher has a row."""
LR = {"low": 0.01, "high": 0.5}
SPLITS = range(1, 6)
WEIGHT_FACTOR = {"low": 0.1, "high": 10.0}
_CHOOSE = dict.fromkeys(("long", "again", "more-seeds", "as-wide", "as-wide-long"), "beyond_noise")
"""Which trial is taken, by table; the others took the best on validation, however little it was ahead."""


@dataclass(frozen=True)
class Unit:
    """One job."""

    direction: Direction
    table: str
    arm: str
    data_dir: Path
    work: Path
    trials: int
    seeds: int
    device: str = "cpu"
    folds: int | None = None

    @property
    def folder(self) -> Path:
        """Of the job."""
        return self.work / self.direction.slug / f"{self.table}-{self.arm}".replace(" ", "-").replace(",", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--table", choices=[*TABLES, "auto"], default="methods")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--work", type=Path, default=Path("runs/accuracy"), help="folder of the jobs")
    parser.add_argument("--only", action="append", help="name of a direction; repeat for several")
    parser.add_argument("--arm", action="append", help="name of an arm of the table; repeat for several")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folds", type=int, help="by which auto judges its finalists")
    parser.add_argument("--split", type=int, action="append", help="of the table splits; default: 1 to 5")
    parser.add_argument("--recipe", choices=["small", "paper"], default="small")
    parser.add_argument("--device", default="cpu", help="cpu (one thread a training), cuda or auto")
    parser.add_argument("--epochs", type=int, help="of teacher and student, to try things out")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    auto = "auto" if given.folds is None else f"auto, {given.folds} folds"
    arms = [auto] if given.table == "auto" else list(TABLES[given.table])
    units = [
        Unit(
            direction,
            given.table,
            arm,
            given.data,
            given.work,
            given.trials,
            given.seeds,
            given.device,
            given.folds,
        )
        for direction in _directions(given)
        if not given.only or direction.name in given.only
        for arm in arms
        if not given.arm or arm in given.arm
    ]
    path = given.out / f"{given.table}.csv"
    done = {(row["direction"], row["method"]) for row in read_rows(path)}
    teachers = {unit.direction.name: unit for unit in units}
    left = [unit for unit in units if (unit.direction.name, unit.arm) not in done]
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for name, rows in pool.imap_unordered(run_teacher, teachers.values()):
            if given.table in WITH_TEACHERS and (name, TEACHER) not in done:
                append_rows(path, rows)
        for name, rows in pool.imap_unordered(run_unit, left):
            append_rows(path, rows)
            print(name, *(row["test_metric"] for row in rows), flush=True)


def _directions(given: argparse.Namespace) -> list[Direction]:
    """That may be asked for: others than the table's own by name alone."""
    found = [
        *DIRECTIONS,
        *([*DEVELOPMENT, *FEW_LABELS, *LONG, *AS_WIDE, *AS_WIDE_LONG] if given.only else []),
    ]
    if given.recipe == "paper":
        found = PAPER
    elif given.table == "few-labels":
        found = FEW_LABELS
    elif given.table == "long":
        found = LONG
    elif given.table == "as-wide":
        found = AS_WIDE
    elif given.table == "as-wide-long":
        found = AS_WIDE_LONG
    elif given.table == "splits":
        found = [resplit(each, number) for number in given.split or SPLITS for each in DIRECTIONS]
    if given.epochs is None:
        return found
    return [replace(each, epochs=given.epochs, teacher_epochs=given.epochs) for each in found]


def run_teacher(unit: Unit) -> tuple[str, list[dict[str, Any]]]:
    """Trains a direction's teacher, unless it is there; returns its row."""
    direction = unit.direction
    data = dataset_file(direction, unit.data_dir, _made(unit.work))
    spec = {
        "kind": "train",
        "dataset": "data",
        "task": {"kind": "classification"},
        "student": _model(direction.teacher, direction.teacher_architecture),
        # Stated, not the spec's default, so that the table stays what it is when a default changes.
        "training": _training(direction, direction.teacher_epochs, 0.05),
        "export": {"onnx": False},
    }
    result = run(load_spec(spec), data, _teacher_folder(unit), options=_options(unit))
    assert isinstance(result, RunResult)
    model = result.student
    found = FinalRun(
        seed=0, val=model.val, test=model.test, best_epoch=model.best_epoch, epochs=model.epochs,
        seconds=model.seconds,
    )  # fmt: skip
    return direction.name, [_row(unit, TEACHER, found, lr=0.05, weights={}, trials=0)]


def run_unit(unit: Unit) -> tuple[str, list[dict[str, Any]]]:
    """Runs one job; returns a row per seed, none where the method does not fit the data."""
    direction = unit.direction
    data = dataset_file(direction, unit.data_dir, unit.work)
    if unit.folds is not None or unit.table in _CHOOSE:
        data = grouped_file(direction, data, unit.work)
    document = _job(unit)
    name = f"{direction.name}: {unit.arm}"
    try:
        result = run(load_spec(document), data, unit.folder, options=_options(unit))
    except FDKDError as error:
        return f"{name}: {error}", []
    if isinstance(result, StudyResult):
        rows = [
            _row(unit, unit.arm, found, lr=result.lr, weights=result.parameters, trials=len(result.trials))
            for found in result.runs
        ]
    else:
        assert isinstance(result, RunResult)
        assert result.auto is not None
        won = next(found for found in result.auto.finalists if found.number == result.auto.winner)
        chosen = next(found for found in result.auto.configurations if found.number == result.auto.winner)
        weights = {"chosen": result.auto.winner_label, **chosen.parameters}
        rows = [
            _row(unit, unit.arm, found, lr=chosen.lr, weights=weights, trials=len(result.auto.configurations))
            for found in won.runs
        ]
    shutil.rmtree(unit.folder / "work", ignore_errors=True)
    return name, rows


def _job(unit: Unit) -> dict[str, Any]:
    direction = unit.direction
    tuning = {"lr": LR, "weight_factor": WEIGHT_FACTOR}
    shared = {
        "dataset": "data",
        "task": {"kind": "classification"},
        "teacher": {"modality": direction.teacher, "model": TEACHER},
        "student": _model(direction.student, direction.student_architecture),
        "training": _training(direction, direction.epochs, 0.1),
        "export": {"onnx": False},
    }
    if unit.table == "auto":
        method = {"name": "auto", "seeds": unit.seeds, "folds": unit.folds, **tuning}
        return {**shared, "kind": "distill", "method": method}
    arm = TABLES[unit.table][unit.arm]
    return {
        **shared,
        "kind": "study",
        "method": arm.method.model_dump(mode="json"),
        "teacher_view": arm.view,
        "tuning": {"trials": unit.trials, "choose": _CHOOSE.get(unit.table, "best"), **tuning},
        "seeds": unit.seeds,
    }


def _model(modality: str, architecture: Any) -> dict[str, Any]:
    return {"modality": modality, "architecture": architecture.model_dump(mode="json")}


def _training(direction: Direction, epochs: int, lr: float) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "optimizer": {"name": "sgd", "lr": lr},
        "select_by": direction.select_by,
        "checkpoint_every_steps": 100_000,
    }


def _options(unit: Unit) -> RunOptions:
    return RunOptions(
        device=unit.device,
        threads=1 if unit.device == "cpu" else None,
        manifest=unit.direction.manifest,
        models={TEACHER: _teacher_folder(unit) / "student"},
        teacher_cache_dir=_made(unit.work / "teacher-cache"),
    )


def _teacher_folder(unit: Unit) -> Path:
    folder = unit.work / unit.direction.slug
    return _made(folder) / TEACHER


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _row(
    unit: Unit, method: str, found: FinalRun, *, lr: float, weights: dict[str, Any], trials: int
) -> dict[str, Any]:
    metric = unit.direction.select_by
    assert isinstance(found.test, ClassificationMetrics)
    return {
        "direction": unit.direction.name,
        "method": method,
        "seed": found.seed,
        "lr": lr,
        "weights": json.dumps(weights) if weights else "",
        "trials": trials,
        "val_metric": f"{getattr(found.val, metric):.4f}",
        "test_metric": f"{getattr(found.test, metric):.4f}",
        "test_macro_f1": f"{found.test.macro_f1:.4f}",
        "seconds": f"{found.seconds:.1f}",
        "metric": metric,
        "test_accuracy": f"{found.test.accuracy:.4f}",
    }


def read_rows(path: Path) -> list[dict[str, str]]:
    """What is there already."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Adds rows at the end."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
