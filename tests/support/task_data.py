"""Pairs whose labels are sets of classes, or numbers: one view shows them plainly, one under noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from small_job import small_spec

from fdkd_core.spec import DistillSpec

TRAINING = {"epochs": 8, "batch_size": 16, "augment": "none"}
HEIGHT, WIDTH = (1000.0, 50.0), (-3.0, 0.1)
"""Mean and deviation of the two numbers of a regression, which differ in unit."""


def write_task_data(path: Path, kind: str, *, rows: int = 160) -> Path:
    """Writes an .npz of `clean`, a mixture of four causes, and `wave`, four tones as loud as those, in noise.

    Args:
        path: The file.
        kind: `multilabel`: which of the first three causes are large; `regression`: two sums, in units
            of their own.
        rows: For training; 40 and 60 more are for validation and test.
    """
    rng = np.random.default_rng(0)
    total = rows + 100
    causes = rng.normal(size=(total, 4))
    time = np.arange(24)
    tones = np.stack([np.sin(2 * np.pi * (k + 1) * time / 24 + k) for k in range(4)])
    wave = causes @ tones + 0.5 * rng.normal(size=(total, 24))
    clean = causes @ rng.normal(size=(4, 10)) + 0.1 * rng.normal(size=(total, 10))
    if kind == "multilabel":
        label = (causes[:, :3] > 0.3).astype(np.int64)
    else:
        parts = (causes[:, 0], (causes[:, 1] - causes[:, 2]) / np.sqrt(2.0))
        label = np.stack([m + s * x for (m, s), x in zip((HEIGHT, WIDTH), parts, strict=True)], axis=1)
    np.savez(
        path, clean=clean.astype(np.float32), wave=wave[:, :, None].astype(np.float32), label=label,
        split=np.array(["train"] * rows + ["val"] * 40 + ["test"] * 60),
        **({"class_names": np.array(["one", "two", "three"])} if kind == "multilabel" else {}),
    )  # fmt: skip
    return path


def task_spec(kind: str, **changes: Any) -> DistillSpec:
    """A job whose teacher sees `clean` and whose student sees `wave`; keyword arguments replace fields."""
    fields = {
        "task": {"kind": kind},
        "teacher": {"modality": "clean", "architecture": {"name": "mlp", "width": 16}, "train": TRAINING},
        "student": {"modality": "wave", "architecture": {"name": "conv1d", "width": 8, "depth": 2}},
        "training": TRAINING,
        "method": {"name": "logit_kd", "temperature": 2.0},
    }
    return small_spec(**{**fields, **changes})
