"""The directions of the accuracy benchmark: which data, which modality teaches which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.spec import ArchitectureSpec, Conv1dSpec, Conv2dSpec, MLPSpec


@dataclass(frozen=True)
class Direction:
    """One row group of the table."""

    name: str
    path: str
    """Below the folder of data sets."""
    teacher: str
    student: str
    teacher_architecture: ArchitectureSpec
    student_architecture: ArchitectureSpec
    epochs: int
    """Of the student and its control; sized so that the control's validation accuracy has levelled off."""
    teacher_epochs: int
    manifest: str | None = None
    train_frac: float = 1.0
    select_by: str = "accuracy"


DIRECTIONS = [
    Direction(
        "avdigits image->audio", "avdigits.zip", "image", "audio",
        Conv2dSpec(width=16), Conv2dSpec(width=8), epochs=8, teacher_epochs=6, manifest="manifest_spk.csv",
    ),
    Direction(
        "avdigits image->audio 10%", "avdigits.zip", "image", "audio",
        Conv2dSpec(width=16), Conv2dSpec(width=8), epochs=30, teacher_epochs=30,
        manifest="manifest_spk.csv", train_frac=0.1,
    ),
    Direction(
        "phone gyro->acc", "phone_watch_har/arrays.npz", "phone_gyro", "phone_acc",
        Conv1dSpec(width=32), Conv1dSpec(width=16), epochs=30, teacher_epochs=30, select_by="macro_f1",
    ),
    Direction(
        "phone acc->gyro", "phone_watch_har/arrays.npz", "phone_acc", "phone_gyro",
        Conv1dSpec(width=32), Conv1dSpec(width=16), epochs=30, teacher_epochs=30, select_by="macro_f1",
    ),
    Direction(
        "mosi text->audio", "mosi_utt/arrays.npz", "text_feat", "audio",
        MLPSpec(width=64), MLPSpec(width=64), epochs=30, teacher_epochs=15, select_by="macro_f1",
    ),
]  # fmt: skip


def load(direction: Direction, data_dir: Path) -> PairedDataset:
    """The data of a direction; a share of its training rows where it asks for that, stratified and seeded."""
    data = load_dataset(
        data_dir / direction.path, [direction.teacher, direction.student], manifest=direction.manifest
    )
    if direction.train_frac == 1.0:
        return data
    rng = np.random.default_rng(0)
    rows = data.splits["train"]
    kept = np.concatenate(
        [
            rng.permutation(rows[data.labels[rows] == c])[
                : round(direction.train_frac * (data.labels[rows] == c).sum())
            ]
            for c in range(len(data.classes))
        ]
    )
    return replace(data, splits={**data.splits, "train": np.sort(kept)})
