"""Rows that show whom they are of: plainly in one view, under a louder nuisance in the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from task_data import TRAINING, task_spec

from fdkd_core.spec import DistillSpec

ROWS_EACH = 4
DIM = 32


def retrieval_arrays(
    *, train: int = 50, val: int = 12, test: int = 20, is_open: bool = True
) -> dict[str, NDArray[Any]]:
    """Arrays of `clean`, a mixture of an identity's four traits, and `wave`, tones as loud as those.

    Four other tones in `wave`, three times as loud, belong to the row alone: by the wave as it is, hardly
    anybody is found.

    Args:
        train: Identities of the training split, of four rows each.
        val: Of validation.
        test: Of the test split.
        is_open: Whether validation and test have identities that training lacks; else their rows are of the
            first of training.
    """
    rng = np.random.default_rng(0)
    places = [np.arange(count) + (start if is_open else 0) for count, start in
              ((train, 0), (val, train), (test, train + val))]  # fmt: skip
    label = np.repeat(np.concatenate(places), ROWS_EACH)
    traits = rng.normal(size=(label.max() + 1, 4))[label]
    tones = np.stack([np.sin(2 * np.pi * (k + 1) * np.arange(24) / 24 + k) for k in range(8)])
    loudness = np.concatenate([traits, 3.0 * rng.normal(size=traits.shape)], axis=1)
    wave = loudness @ tones + 0.1 * rng.normal(size=(len(label), 24))
    clean = traits @ rng.normal(size=(4, 10)) + 0.1 * rng.normal(size=(len(label), 10))
    splits = np.repeat(["train", "val", "test"], [ROWS_EACH * count for count in (train, val, test)])
    return {
        "clean": clean.astype(np.float32),
        "wave": wave[:, :, None].astype(np.float32),
        "label": label,
        "split": splits,
    }


def write_paired_vectors(path: Path) -> Path:
    """The same rows, whose label is what another model might say of their identity: a vector of 12."""
    arrays = retrieval_arrays()
    rng = np.random.default_rng(1)
    # A mixture of the traits, as `clean` shows them, on an offset that all share.
    first = np.unique(arrays["label"], return_index=True)[1]
    vectors = arrays["clean"][first] @ rng.normal(size=(10, 12)) + 3.0
    np.savez(path, **{**arrays, "label": vectors[arrays["label"]].astype(np.float32)})
    return path


def write_retrieval_data(path: Path, **changes: Any) -> Path:
    """Writes `retrieval_arrays` as an .npz."""
    np.savez(path, **retrieval_arrays(**changes))
    return path


def retrieval_spec(task: dict[str, Any] | None = None, **changes: Any) -> DistillSpec:
    """A job whose teacher sees `clean` and whose student sees `wave`."""
    training = {**TRAINING, "batch_size": 32}
    fields: dict[str, Any] = {
        "task": task
        if task and "kind" in task
        else {"kind": "retrieval", "embedding_dim": DIM, **(task or {})},
        "teacher": {"modality": "clean", "architecture": {"name": "mlp", "width": 32}, "train": training},
        "student": {"modality": "wave", "architecture": {"name": "mlp", "width": 64}},
        "training": training,
        "method": {"name": "logit_kd"},
    }
    return task_spec("retrieval", **{**fields, **changes})
