"""Data of the small job, most of whose training rows have no label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def take_labels(path: Path, source: Path, *, kept: int, as_label: Any = None) -> Path:
    """Writes an .npz whose training rows but for the first ones are pairs without a label.

    Args:
        path: The new file.
        source: The .npz whose rows are taken.
        kept: Training rows that keep their label.
        as_label: Label that stands where there is none now; None leaves the true one, which nobody may read.
    """
    with np.load(source) as found:
        arrays: dict[str, NDArray[Any]] = dict(found)
    split = arrays["split"].astype("<U10")
    split[np.flatnonzero(split == "train")[kept:]] = "unlabelled"
    arrays["split"] = split
    if as_label is not None:
        arrays["label"][split == "unlabelled"] = as_label
    np.savez(path, **arrays)
    return path


def write_clustered_data(path: Path, *, rows: int = 600) -> Path:
    """Writes an .npz of `clean`, which shows the class, and `mixed`, which shows one of 24 clusters.

    Which of these are of which class only labels, or a teacher, can tell: few labels leave most of them out.
    """
    rng = np.random.default_rng(0)
    total = rows + 400
    cluster = rng.integers(0, 24, total)
    label = cluster % 3
    np.savez(
        path,
        clean=(3.0 * np.eye(3)[label] + 0.5 * rng.normal(size=(total, 3))).astype(np.float32),
        mixed=(rng.normal(size=(24, 12))[cluster] + 0.4 * rng.normal(size=(total, 12))).astype(np.float32),
        label=label,
        split=np.array(["train"] * rows + ["val"] * 100 + ["test"] * 300),
    )
    return path
