"""Small scenes in colour and depth with their masks, as `examples/make_scenes.py` makes them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
from small_job import small_spec

from fdkd_core.spec import DistillSpec

MAKER = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "make_scenes.py"))
CLASSES = list(MAKER["CLASSES"])
SIDE = 24
TRAINING = {"epochs": 12, "batch_size": 16, "augment": "light", "optimizer": {"name": "sgd", "lr": 0.1}}
NETWORK = {"name": "conv2d_fpn", "width": 8, "depth": 2, "dim": 16}


def scenes(count: int = 120, seed: int = 0) -> tuple[dict[str, Any], list[str]]:
    """Arrays and splits."""
    arrays = MAKER["make_scenes"](count, SIDE, np.random.default_rng(seed))
    return arrays, MAKER["splits_of"](count)


def write_scenes(path: Path, count: int = 120) -> Path:
    """Writes them as an .npz, or as a folder with a manifest where the path has no suffix."""
    arrays, splits = scenes(count)
    if path.suffix != ".npz":
        MAKER["write_folder"](path, arrays, splits)
        return path
    # An array of two axes a row could be a series as well. The vector shows nothing of a scene.
    path.with_name(f"{path.stem}.dataset.yaml").write_text("modalities: {depth: {kind: depth}}\n")
    np.savez(
        path, colour=arrays["colour"], depth=arrays["depth"].astype(np.float32), label=arrays["mask"],
        split=np.array(splits), class_names=np.array(CLASSES),
        vector=np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32),
    )  # fmt: skip
    return path


def scene_spec(**changes: Any) -> DistillSpec:
    """A job whose teacher sees colour and whose student sees depth; keyword arguments replace fields."""
    fields: dict[str, Any] = {
        "task": {"kind": "segmentation"},
        "teacher": {"modality": "colour", "architecture": NETWORK, "train": TRAINING},
        "student": {"modality": "depth", "architecture": {**NETWORK, "dim": 12}},
        "training": TRAINING,
        "method": {"name": "logit_kd", "temperature": 1.0},
    }
    return small_spec(**{**fields, **changes})
