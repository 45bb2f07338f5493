"""Would folds by group choose better than the validation split? What the methods of `auto` gain in cross-validation.

    python benchmarks/accuracy/folds.py --data DIR [--folds 5] [--only DIRECTION] [--processes 2] [--out results/]

Rows of training and validation are divided by subject, speaker or video. Each method, with the settings that tuning
found for it (`methods.csv`), is trained without each fold in turn and judged on it; the test split is never read.
Writes folds.csv: a row per direction, method and fold. `report.py` sets these gains beside those on the test split.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arms import METHODS
from directions import DIRECTIONS, Direction, load
from numpy.typing import NDArray
from tables import Unit, append_rows, read_rows, run_teacher
from trainings import CPU, train

from fdkd_core.bundle import load_bundle
from fdkd_core.data.table import PairedDataset
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import SGDSpec, TrainingSpec
from fdkd_core.spec.figures import figure
from fdkd_core.studies.search import with_parameters
from fdkd_core.training.evaluation import predict_rows

ARMS = ("none", "logit_kd", "dist", "fd_cmkd", "fd_cmkd + logit_kd")
FIELDS = ["direction", "method", "fold", "groups", "rows", "score"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--work", type=Path, default=Path("runs/accuracy"), help="folder of the teachers")
    parser.add_argument("--only", action="append", help="name of a direction; repeat for several")
    parser.add_argument("--folds", type=int, default=5, help="at most; never more than there are groups")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    path = given.out / "folds.csv"
    tuned = read_rows(given.out / "methods.csv")
    done = {row["direction"] for row in read_rows(path)}
    wanted = [d for d in DIRECTIONS if d.name not in done and (not given.only or d.name in given.only)]
    tasks = [(d, given.data, given.work, given.folds, tuned) for d in wanted]
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for rows in pool.imap_unordered(cross_validate, tasks):
            append_rows(path, rows, FIELDS)
            print(rows[0]["direction"], {row["method"] for row in rows}, flush=True)


def cross_validate(task: tuple[Direction, Path, Path, int, list[dict[str, str]]]) -> list[dict[str, Any]]:
    """A row for each method and fold of a direction."""
    direction, data_dir, work, most, tuned = task
    torch.set_num_threads(1)
    run_teacher(Unit(direction, "methods", "none", data_dir, work, 1, 1))
    teacher = load_bundle(work / direction.slug / "teacher" / "student").model
    data = load(direction, data_dir)
    rows = np.sort(np.concatenate([data.splits["train"], data.splits["val"]]))
    outputs = predict_rows(teacher, data.modalities[direction.teacher], rows, CPU)
    groups = _groups(direction, data, data_dir)[rows]
    parts = in_folds(groups, most)
    found = []
    for arm in ARMS:
        chosen = next(row for row in tuned if (row["direction"], row["method"]) == (direction.name, arm))
        method = with_parameters(METHODS[arm].method, json.loads(chosen["weights"] or "{}"))
        training = TrainingSpec(
            epochs=direction.epochs,
            optimizer=SGDSpec(lr=float(chosen["lr"])),
            select_by=direction.select_by,
        )
        for number, is_out in enumerate(parts):
            view = replace(data, splits={**data.splits, "train": rows[~is_out], "val": rows[is_out]})
            kept = torch.from_numpy(~is_out)
            taught = None if arm == "none" else ModelOutput(*(part[kept] for part in outputs))
            _, val = train(view, direction.student, direction.student_architecture, training, method, taught)
            score = figure(val, direction.select_by)
            found.append(
                {
                    "direction": direction.name, "method": arm, "fold": number,
                    "groups": " ".join(sorted(set(groups[is_out]))), "rows": int(is_out.sum()),
                    "score": f"{score:.4f}",
                }
            )  # fmt: skip
            print(direction.name, arm, number, f"{score:.4f}", flush=True)
    return found


def in_folds(groups: NDArray[Any], most: int) -> list[NDArray[np.bool_]]:
    """Which rows each fold holds out: whole groups, the largest first, each to the smallest fold so far."""
    names, counts = np.unique(groups, return_counts=True)
    folds: list[list[Any]] = [[] for _ in range(min(most, len(names)))]
    sizes = [0] * len(folds)
    for place in np.argsort(-counts, kind="stable"):
        smallest = int(np.argmin(sizes))
        folds[smallest].append(names[place])
        sizes[smallest] += int(counts[place])
    return [np.isin(groups, fold) for fold in folds]


def _groups(direction: Direction, data: PairedDataset, data_dir: Path) -> NDArray[Any]:
    """Subject, speaker or video of each row; the files have them under names of their own."""
    path = data_dir / direction.path
    if path.suffix == ".npz":
        name = "subject" if direction.path.startswith("phone_watch") else "video_id"
        with np.load(path) as arrays:
            found: NDArray[Any] = arrays[name]
        return found
    assert direction.manifest is not None
    with zipfile.ZipFile(path) as source:
        rows = csv.DictReader(io.TextIOWrapper(source.open(direction.manifest), encoding="utf-8"))
        speakers = {row["id"]: Path(row["audio"]).stem.split("_")[1] for row in rows}
    return np.array([speakers[name] for name in data.ids])


if __name__ == "__main__":
    main()
