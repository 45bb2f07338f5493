"""A job that trains in a second: a teacher of vectors, a student of series, 18 steps each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fdkd_core.spec import CompareSpec, DistillSpec, MethodJobSpec, StudySpec, load_spec

STEPS_PER_PHASE = 18
CHECKPOINT_EVERY = 7
NOTHING_MADE = {"onnx": False, "latency_s": 0.0}
"""Nearly all the time of so small a job would go into its export."""
WITH_ONNX = {"export": {"onnx": True, "int8": False, "latency_s": 0.0}}
"""For the tests that are about it: exporting takes ten times as long as training."""

MINIMAL: dict[str, Any] = {
    "kind": "distill",
    "dataset": "digits",
    "task": {"kind": "classification"},
    "teacher": {"modality": "image"},
    "student": {"modality": "audio"},
}
"""The least that a spec of a distillation says."""


def small_spec(**changes: Any) -> DistillSpec:
    """The spec; keyword arguments replace top-level fields."""
    training = {
        "epochs": 3,
        "batch_size": 16,
        "augment": "light",
        "checkpoint_every_steps": CHECKPOINT_EVERY,
    }
    document = {
        "kind": "distill",
        "name": "vectors-teach-series",
        "dataset": "small",
        "task": {"kind": "classification"},
        "teacher": {"modality": "clean", "architecture": {"name": "mlp", "width": 8}, "train": training},
        "student": {
            "modality": "wave",
            # Dropout, so that torch's generator matters to a resume; another D, so that there is a projector.
            "architecture": {"name": "conv1d", "width": 6, "depth": 2, "dropout": 0.2},
        },
        "training": training,
        "export": NOTHING_MADE,
    }
    spec = load_spec({**document, **changes})
    assert isinstance(spec, DistillSpec)
    return spec


def small_study(**changes: Any) -> StudySpec:
    """A study of three trials and two final runs on the same data."""
    spec = load_spec({**_shared(), "kind": "study", "tuning": {"trials": 3}, "seeds": 2, **changes})
    assert isinstance(spec, StudySpec)
    return spec


def small_comparison(**changes: Any) -> CompareSpec:
    """A comparison of logit_kd, the control and one fake teacher: two trials and two final runs each."""
    document = {
        **_shared(), "kind": "compare", "tuning": {"trials": 2}, "seeds": 2,
        "methods": [{"name": "logit_kd"}], "fake_teachers": ["shuffled_pairs"],
    }  # fmt: skip
    spec = load_spec({**document, **changes})
    assert isinstance(spec, CompareSpec)
    return spec


def _shared() -> dict[str, Any]:
    return small_spec().model_dump(mode="json", include=set(MethodJobSpec.model_fields) - {"kind", "method"})


def write_small_data(path: Path, *, rows: int = 96, classes: int = 3) -> Path:
    """Writes an .npz whose two modalities show the same class, one clearly, one under noise."""
    rng = np.random.default_rng(0)
    total = rows + 60
    label = rng.integers(0, classes, total)
    centres = rng.normal(size=(classes, 10))
    time = np.arange(24)
    tone = np.sin(2 * np.pi * (label[:, None] + 1) * time / 24 + rng.uniform(0, 6, (total, 1)))
    np.savez(
        path,
        clean=(centres[label] + 0.4 * rng.normal(size=(total, 10))).astype(np.float32),
        wave=(tone[:, :, None] + 0.8 * rng.normal(size=(total, 24, 2))).astype(np.float32),
        label=label,
        split=np.array(["train"] * rows + ["val"] * 30 + ["test"] * 30),
        id=np.array([f"row{i}" for i in range(total)]),
    )
    return path
