"""Where the spec's defaults come from: one choice changed at a time, judged on validation alone.

    python benchmarks/accuracy/defaults.py --data DIR [--seeds 3] [--first-seed 0] [--group G] [--variant V] --out results/

Starts from the spec as it is with nothing set but the architecture, and changes one field per variant. Mean
validation figure over seeds and directions, and the difference to the spec as it is, paired by direction and
seed. The test split is never read.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from directions import DIRECTIONS, load
from trainings import CPU, train

from fdkd_core.errors import IncompatibleError, TrainingDivergedError
from fdkd_core.spec import (
    AdamWSpec,
    ConstantSpec,
    CosineSpec,
    DKDSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LogitKDSpec,
    LSKDSpec,
    MethodSpec,
    NoneSpec,
    RKDSpec,
    SGDSpec,
    TrainingSpec,
)
from fdkd_core.spec.catalogue import default_architecture
from fdkd_core.training.evaluation import predict_rows

USED = ("phone gyro->phone acc", "phone acc->phone gyro", "mosi text->audio")
"""The directions that train in seconds."""


SIZES = {
    "width x 0.5": lambda spec: {"width": spec.width // 2},
    "width x 2": lambda spec: {"width": spec.width * 2},
    "depth - 1": lambda spec: {"depth": spec.depth - 1},
    "depth + 1": lambda spec: {"depth": spec.depth + 1},
}
"""Changes of the student's size, which the default architecture of every kind is compared with."""


def variants() -> Iterator[tuple[str, str, TrainingSpec, MethodSpec]]:
    """Group, name, training, method; the first of each group is the default."""
    plain, none, fd = TrainingSpec(), NoneSpec(), FDCMKDSpec()
    yield "training", "default", plain, none
    for lr in (0.02, 0.05, 0.2):
        yield "training", f"sgd lr {lr}", plain.model_copy(update={"optimizer": SGDSpec(lr=lr)}), none
    yield (
        "training",
        "sgd weight decay 1e-3",
        plain.model_copy(update={"optimizer": SGDSpec(weight_decay=1e-3)}),
        none,
    )
    for lr in (3e-3,):
        yield "training", f"adamw lr {lr}", plain.model_copy(update={"optimizer": AdamWSpec(lr=lr)}), none
    yield "training", "cosine", plain.model_copy(update={"schedule": CosineSpec()}), none
    yield "training", "constant", plain.model_copy(update={"schedule": ConstantSpec()}), none
    for augment in ("none", "strong"):
        yield "training", f"augment {augment}", plain.model_copy(update={"augment": augment}), none
    for batch_size in (32, 128):
        yield "training", f"batch {batch_size}", plain.model_copy(update={"batch_size": batch_size}), none
    for epochs in (10, 40):
        yield "training", f"epochs {epochs}", plain.model_copy(update={"epochs": epochs}), none

    yield "fd_cmkd", "default", plain, fd
    changes: list[dict[str, object]] = [
        {"low_weight": 3.0, "high_weight": 0.3},
        {"low_weight": 10.0, "high_weight": 1.0},
        {"low_weight": 30.0, "high_weight": 3.0},
        {"high_weight": fd.low_weight},
        {"high_weight": 0.0},
        {"log_scale": 1.0},
        {"cutoff": 0.25},
        {"cutoff": 0.75},
        {"reduction": "mean"},
        {"shared_classifier": False},
        {"band_heads": False},
        {"shared_classifier": False, "band_heads": False},
        {"low_weight": 0.0, "high_weight": 0.0},
    ]
    for change in changes:
        name = ", ".join(f"{field} {value}" for field, value in change.items())
        yield "fd_cmkd", name, plain, fd.model_copy(update=change)
    yield "logit_kd", "default", plain, LogitKDSpec()
    for weight in (0.3, 2.0, 4.0):
        yield "logit_kd", f"weight {weight}", plain, LogitKDSpec(weight=weight)
    for temperature in (1.0, 2.0, 8.0):
        yield "logit_kd", f"temperature {temperature}", plain, LogitKDSpec(temperature=temperature)
    yield "feature_mse", "default", plain, FeatureMSESpec()
    for weight in (0.3, 3.0, 10.0, 30.0):
        yield "feature_mse", f"weight {weight}", plain, FeatureMSESpec(weight=weight)
    for name in ("default", *SIZES):
        yield "size", name, plain, none

    # The published weights of the baselines, which were tuned on 100 classes at other rates.
    yield "dkd", "default", plain, DKDSpec()
    for weight in (2.0, 8.0):
        yield "dkd", f"non_target_weight {weight}", plain, DKDSpec(non_target_weight=weight)
    yield "lskd", "default", plain, LSKDSpec()
    for weight in (3.0, 9.0):
        yield "lskd", f"weight {weight}", plain, LSKDSpec(weight=weight)
    yield "rkd", "default", plain, RKDSpec()
    for weight in (2.5, 25.0):
        rkd = RKDSpec(distance_weight=weight, angle_weight=2 * weight)
        yield "rkd", f"distance_weight {weight}, angle_weight {2 * weight}", plain, rkd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0, help="a finding is confirmed on fresh seeds")
    parser.add_argument("--variant", action="append", help="name of a variant; repeat for several")
    parser.add_argument("--group", action="append", help="training, fd_cmkd, ...; repeat for several")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    prepared = []
    for direction in DIRECTIONS:
        if direction.name not in USED:
            continue
        data = load(direction, options.data)
        chosen = TrainingSpec(epochs=direction.teacher_epochs, select_by=direction.select_by)
        teacher, _ = train(data, direction.teacher, direction.teacher_architecture, chosen, NoneSpec(), None)
        rows = data.splits["train"]
        prepared.append(
            (direction, data, predict_rows(teacher.model, data.modalities[direction.teacher], rows, CPU))
        )
    with (options.out / "defaults.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "variant", *USED, "mean", "minus_default", "standard_error", "seeds"])
        reference: dict[str, np.ndarray] = {}
        for group, name, training, method in variants():
            if options.group and group not in options.group:
                continue
            if options.variant and name not in ("default", *options.variant):
                continue
            found = np.full((len(prepared), options.seeds), np.nan)
            for i, (direction, data, outputs) in enumerate(prepared):
                for seed in range(options.seeds):
                    change = {"seed": options.first_seed + seed, "select_by": direction.select_by}
                    spec = training.model_copy(update=change)
                    given = None if isinstance(method, NoneSpec) else outputs
                    kind = data.modalities[direction.student].recipe["kind"]
                    architecture = (
                        default_architecture(kind, data.task)
                        if group == "size"
                        else direction.student_architecture
                    )
                    if group == "size" and name in SIZES:
                        architecture = architecture.model_copy(update=SIZES[name](architecture))
                    try:
                        figures = train(data, direction.student, architecture, spec, method, given)[1]
                    except (TrainingDivergedError, IncompatibleError):  # lskd refuses two classes
                        continue
                    found[i, seed] = getattr(figures, direction.select_by)
            reference.setdefault(group, found)
            difference = (found - reference[group]).ravel()
            difference = difference[np.isfinite(difference)]
            row = [
                *found.mean(axis=1),
                np.nanmean(found),
                difference.mean(),
                difference.std(ddof=1) / len(difference) ** 0.5,
            ]
            seeds = f"{options.first_seed}-{options.first_seed + options.seeds - 1}"
            writer.writerow([group, name, *(f"{100 * value:.1f}" for value in row), seeds])
            file.flush()
            print(group, name, [f"{100 * value:.1f}" for value in row], flush=True)


if __name__ == "__main__":
    main()
