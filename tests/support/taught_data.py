"""Data whose training labels are partly wrong, and a teacher that knows better, or worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fdkd_core.spec import DistillSpec, load_spec

CLASSES = 5
TRAINING = {"epochs": 12, "batch_size": 16, "augment": "none", "optimizer": {"name": "sgd", "lr": 0.05}}


def write_taught_data(path: Path, *, wrong: float = 0.5, roll: int = 0) -> Path:
    """Writes an .npz of a column `clean`, which shows the class plainly, and one `noisy`, which hardly does.

    Args:
        path: The file.
        wrong: Share of the training labels that were drawn at random; those of val and test are right.
        roll: Added to all labels, modulo the number of classes: a teacher of rolled labels is always wrong.
    """
    rng = np.random.default_rng(0)
    split = np.array(["train"] * 160 + ["val"] * 150 + ["test"] * 150)
    label = rng.integers(0, CLASSES, len(split))
    centres = rng.normal(size=(CLASSES, 8))
    clean = 3.0 * centres[label] + 0.3 * rng.normal(size=(len(split), 8))
    noisy = np.concatenate([centres[label], rng.normal(size=(len(split), 8))], axis=1)
    noisy += 0.5 * rng.normal(size=noisy.shape)
    replaced = (rng.random(len(split)) < wrong) & (split == "train")
    told = np.where(replaced, rng.integers(0, CLASSES, len(split)), label)
    np.savez(
        path, clean=clean.astype(np.float32), noisy=noisy.astype(np.float32),
        label=(told + roll) % CLASSES, split=split,
    )  # fmt: skip
    return path


def teacher_spec() -> Any:
    """A job that trains a teacher on the clean column."""
    return load_spec(
        {
            "kind": "train", "dataset": "taught", "task": {"kind": "classification"},
            "student": {"modality": "clean", "architecture": {"name": "mlp", "width": 16}},
            "training": TRAINING, "export": {"onnx": False, "latency_s": 0.0},
        }
    )  # fmt: skip


def auto_spec(**changes: Any) -> DistillSpec:
    """A job that chooses between logit_kd and the control; keyword arguments replace fields of `method`."""
    spec = load_spec(
        {
            "kind": "distill", "name": "taught", "dataset": "taught", "task": {"kind": "classification"},
            "teacher": {"modality": "clean", "model": "teacher"},
            "student": {"modality": "noisy", "architecture": {"name": "mlp", "width": 32}},
            "training": TRAINING, "export": {"onnx": False, "latency_s": 0.0},
            "method": {
                "name": "auto", "methods": [{"name": "logit_kd"}], "trials": 6, "finalists": 1, "seeds": 3,
                **changes,
            },
        }
    )  # fmt: skip
    assert isinstance(spec, DistillSpec)
    return spec
