"""What the data report says of one modality, and of the groups in a split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.table import Split
from fdkd_core.modalities.base import Recipe
from fdkd_core.modalities.inference import InferredKind

_REPEATED = ("rate_hz", "vocab_size", "layout", "scale", "source_channels", "shortest_edge")
"""Fields of a recipe that the report repeats, where the kind has them."""


def describe_modality(
    kind: InferredKind,
    options: dict[str, Any],
    recipe: Recipe,
    *,
    is_given: bool,
    distinct_values: int,
    proportions: list[float] | None = None,
) -> dict[str, Any]:
    """One modality in the data report.

    Args:
        kind: With its reason.
        options: Of dataset.yaml.
        recipe: Fitted.
        is_given: It came with a model.
        distinct_values: Of the column.
        proportions: Least and largest width over height of its pictures, where labels are masks.
    """
    described: dict[str, Any] = {
        "kind": kind.kind,
        "kind_reason": kind.reason,
        "options": options,
        "version": recipe["version"],
        "recipe": "given with the model" if is_given else "made from the training split",
        "input_shape": recipe["input_shape"],
        "input_dtype": recipe["input_dtype"],
        "notes": recipe["notes"],
        "distinct_values": distinct_values,
    }
    described |= {key: recipe[key] for key in _REPEATED if key in recipe}
    if proportions is not None:
        described["proportions"] = proportions
    if "mean" in recipe:
        described["normalisation"] = {
            "channels": len(recipe["mean"]),
            "mean": [min(recipe["mean"]), max(recipe["mean"])],
            "std": [min(recipe["std"]), max(recipe["std"])],
            "constant_channels": sum(std == 0 for std in recipe["std"]),
        }
    return described


def describe_groups(groups: NDArray[np.int64] | None, rows: NDArray[np.int64]) -> dict[str, int]:
    """How many groups a split has, and the rows of its largest; nothing where the data have none.

    Args:
        groups: One per row of the data, counted from 0.
        rows: Of the split.
    """
    if groups is None:
        return {}
    sizes = np.bincount(groups[rows], minlength=1)
    return {"groups": int((sizes > 0).sum()), "largest_group": int(sizes.max())}


FEW_GROUPS = 6
"""With fewer, how far the next ones would differ is itself uncertain by a third and more."""


def few_groups(groups: NDArray[np.int64] | None, rows: Mapping[Split, NDArray[np.int64]]) -> list[str]:
    """What to know of figures on a validation or test split of few speakers, patients or whatever they are.

    Args:
        groups: One per row of the data; None where the data have none.
        rows: Of each split.
    """
    told: dict[Split, str] = {
        "val": "what is chosen by them may not suit others",
        "test": "figures on them say little of others",
    }
    found = []
    for split, consequence in told.items():
        count = 0 if groups is None else len(np.unique(groups[rows[split]]))
        if 0 < count < FEW_GROUPS:
            noun = "group" if count == 1 else "groups"
            found.append(f"the rows of {split} are of {count} {noun} only: {consequence}")
    return found
