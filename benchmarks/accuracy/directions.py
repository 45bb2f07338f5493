"""The directions of the accuracy benchmark: which data, which modality teaches which."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from resplit import resplit_arrays, resplit_digits, write_rows

from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.spec import ArchitectureSpec, Conv1dSpec, Conv2dSpec, MLPSpec, ResNet18Spec


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
    label_frac: float = 1.0
    """Share of the training rows that keep their label; the others are pairs without one."""
    select_by: Literal["accuracy", "macro_f1"] = "accuracy"
    split: int = 0
    """Which division into train, val and test: 0 is the one that the files come with."""

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return self.name.replace(",", "").replace(" ", "-").replace("->", "-to-").replace("%", "")


def _digits(name: str, *, epochs: int, teacher_epochs: int, train_frac: float) -> Direction:
    return Direction(
        name, "avdigits.zip", "image", "audio", Conv2dSpec(width=16), Conv2dSpec(width=8),
        epochs=epochs, teacher_epochs=teacher_epochs, manifest="manifest_spk.csv", train_frac=train_frac,
    )  # fmt: skip


def _motion(name: str, teacher: str, student: str) -> Direction:
    return Direction(
        name, "phone_watch_har/arrays.npz", teacher, student, Conv1dSpec(width=32), Conv1dSpec(width=16),
        epochs=20, teacher_epochs=30, select_by="macro_f1",
    )  # fmt: skip


def few_labels(found: Direction) -> Direction:
    """With a tenth of the labels. The teacher's epochs have a tenth of the rows, and there are more of them."""
    return replace(
        found, name=f"{found.name} 10% labels", label_frac=0.1, teacher_epochs=5 * found.teacher_epochs
    )


def _features(name: str, teacher: str, student: str) -> Direction:
    return Direction(
        name, "mosi_utt/arrays.npz", teacher, student, MLPSpec(width=64), MLPSpec(width=64),
        epochs=20, teacher_epochs=15, select_by="macro_f1",
    )  # fmt: skip


DIRECTIONS = [
    _digits("avdigits image->audio 10%", epochs=25, teacher_epochs=30, train_frac=0.1),
    _motion("phone gyro->phone acc", "phone_gyro", "phone_acc"),
    _motion("phone acc->phone gyro", "phone_acc", "phone_gyro"),
    _motion("watch gyro->phone acc", "watch_gyro", "phone_acc"),
    _motion("phone gyro->watch acc", "phone_gyro", "watch_acc"),
    _features("mosi text->audio", "text_feat", "audio"),
    _features("mosi text->video", "text_feat", "video"),
    _digits("avdigits image->audio", epochs=4, teacher_epochs=4, train_frac=1.0),
]
DEVELOPMENT = [
    _motion("watch gyro->watch acc", "watch_gyro", "watch_acc"),
    _motion("watch acc->phone acc", "watch_acc", "phone_acc"),
    _motion("watch gyro->phone gyro", "watch_gyro", "phone_gyro"),
    _motion("phone gyro->watch gyro", "phone_gyro", "watch_gyro"),
]
"""What defaults of FD-CMKD may be chosen on: never reported as evidence."""
DEVELOPMENT_MORE = [
    *DEVELOPMENT,
    _motion("phone acc->watch acc", "phone_acc", "watch_acc"),
    _motion("phone acc->watch gyro", "phone_acc", "watch_gyro"),
    _motion("watch acc->phone gyro", "watch_acc", "phone_gyro"),
    _motion("watch acc->watch gyro", "watch_acc", "watch_gyro"),
    _features("mosi audio->text", "audio", "text_feat"),
    _features("mosi video->text", "video", "text_feat"),
    _features("mosi audio->video", "audio", "video"),
    _features("mosi video->audio", "video", "audio"),
]
"""All directions of those data that no table reports."""
FEW_LABELS = [few_labels(found) for found in DIRECTIONS if found.path.startswith("phone_watch_har")]
"""Of a table of their own: most pairs have no label."""
LONG = [replace(found, name=f"{found.name} long", epochs=3 * found.epochs) for found in DIRECTIONS]
"""The students train on long after their control's validation figure has levelled off, as the paper's do."""
AS_WIDE = [
    replace(found, name=f"{found.name} as wide", student_architecture=found.teacher_architecture)
    for found in DIRECTIONS
]
"""Students as wide as their teachers, as the paper's are: no map stands between their features. Those of mosi are so in all tables."""
AS_WIDE_LONG = [replace(found, name=f"{found.name} long", epochs=3 * found.epochs) for found in AS_WIDE]
"""Both, which is as near as small networks come to the paper's setting."""
PAPER = [
    replace(
        found, name=f"{found.name} ResNet-18", teacher_architecture=ResNet18Spec(),
        student_architecture=ResNet18Spec(), epochs=100, teacher_epochs=100,
    )
    for found in DIRECTIONS if found.path == "avdigits.zip"
]  # fmt: skip
"""The recipe of the authors' script on the data that a ResNet-18 can read: for a GPU."""


def resplit(found: Direction, number: int) -> Direction:
    """The direction with another division of its subjects, speakers or videos."""
    return replace(found, name=f"{found.name}, split {number}", split=number)


def dataset_file(direction: Direction, data_dir: Path, work: Path) -> Path:
    """The dataset as a job reads it: the file itself, or one of fewer training rows, made here."""
    whole = _divided(direction, data_dir / direction.path, work)
    if direction.label_frac < 1.0:
        part = work / f"{direction.slug}.npz"
        if not part.exists():
            _write_unlabelled(whole, direction.label_frac, part)
        return part
    if direction.train_frac == 1.0:
        return whole
    assert direction.manifest is not None
    part = work / f"{direction.slug}.zip"
    if not part.exists():
        _write_part(whole, direction.manifest, direction.train_frac, part)
    return part


def _divided(direction: Direction, whole: Path, work: Path) -> Path:
    """The file itself, or its rows in other splits: one file for all directions of the data."""
    if not direction.split:
        return whole
    target = work / f"{direction.path.replace('/', '-')}-split-{direction.split}{whole.suffix}"
    if target.exists():
        return target
    if direction.manifest is None:
        resplit_arrays(whole, direction.split, target)
    else:
        resplit_digits(whole, direction.manifest, direction.split, target)
    return target


def grouped_file(direction: Direction, path: Path, work: Path) -> Path:
    """The same dataset with a column `group`: the subject, speaker or video, which the files name otherwise."""
    target = work / f"{direction.slug}-grouped{path.suffix}"
    if target.exists():
        return target
    # Of this process alone: jobs of one direction begin at once.
    draft = target.with_suffix(f".{os.getpid()}{path.suffix}")
    if path.suffix == ".npz":
        with np.load(path) as found:
            arrays = dict(found)
        np.savez(draft, **arrays, group=arrays["subject" if "subject" in arrays else "video_id"])
    else:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(draft, "w") as copy:
            for name in source.namelist():
                if name != direction.manifest:
                    copy.writestr(name, source.read(name))
            assert direction.manifest is not None
            rows = list(csv.DictReader(io.TextIOWrapper(source.open(direction.manifest), encoding="utf-8")))
            text = io.StringIO()
            writer = csv.DictWriter(text, [*rows[0], "group"])
            writer.writeheader()
            writer.writerows({**row, "group": Path(row["audio"]).stem.split("_")[1]} for row in rows)
            copy.writestr(direction.manifest, text.getvalue())
    draft.rename(target)
    return target


def load(direction: Direction, data_dir: Path) -> PairedDataset:
    """The data of a direction in memory; the same share of its training rows."""
    data = load_dataset(
        data_dir / direction.path, [direction.teacher, direction.student], manifest=direction.manifest
    )
    if direction.train_frac == 1.0:
        return data
    rows = data.splits["train"]
    kept = _share([int(label) for label in data.labels[rows]], direction.train_frac)
    return replace(data, splits={**data.splits, "train": rows[kept]})


def _share(labels: Sequence[Any], fraction: float) -> list[int]:
    """Places of the rows that are kept: the same share of every class, seeded."""
    rng = np.random.default_rng(0)
    places: dict[Any, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        places[label].append(place)
    kept = [
        rng.permutation(places[label])[: round(fraction * len(places[label]))] for label in sorted(places)
    ]
    return sorted(int(place) for chosen in kept for place in chosen)


def _write_unlabelled(whole: Path, fraction: float, part: Path) -> None:
    """An .npz of the same rows, of which most have no label: where one was, 0 stands."""
    with np.load(whole) as found:
        arrays = dict(found)
    split = arrays["split"].astype("<U10")
    train = np.flatnonzero(split == "train")
    split[train] = "unlabelled"
    split[train[_share(arrays["label"][train].tolist(), fraction)]] = "train"
    arrays |= {"split": split, "label": np.where(split == "unlabelled", 0, arrays["label"])}
    draft = part.with_suffix(".draft.npz")
    np.savez(draft, **arrays)
    draft.rename(part)


def _write_part(whole: Path, manifest: str, fraction: float, part: Path) -> None:
    """A zip with all rows but those of the training split that are left out."""
    with zipfile.ZipFile(whole) as source:
        rows = list(csv.DictReader(io.TextIOWrapper(source.open(manifest), encoding="utf-8")))
        train = [row for row in rows if row["split"] == "train"]
        chosen = [train[place] for place in _share([row["label"] for row in train], fraction)]
        write_rows(part, manifest, chosen + [row for row in rows if row["split"] != "train"], source)
