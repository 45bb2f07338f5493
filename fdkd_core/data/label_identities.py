"""Labels that are identities: classes of which validation and test may have others than training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fdkd_core.data.labels import LabelIndex, class_order, refuse_untrained, shown_names
from fdkd_core.data.limits import DEFAULT, Limits


def index_identities(
    labels: Sequence[str],
    splits: Sequence[str],
    class_names: Sequence[str] | None = None,
    limits: Limits = DEFAULT,
) -> LabelIndex:
    """Numbers the identities: those of training as `index_labels` would, then the others in the same order.

    Args:
        labels: One per row, as `read_labels` returns them.
        splits: One per row.
        class_names: Names by class index.
        limits: `max_classes`, of all splits together, and `max_bad_rows` apply.

    Raises:
        DatasetError: `dataset_too_small` for fewer than two identities in training; `exceeds_limit` for too
            many; `invalid_label` for labels beyond `class_names` or not in them.
    """
    shown = shown_names(labels, class_names, limits)
    trained = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    others = set(labels) - trained
    for found in (trained, trained | others):
        refuse_untrained([], found, limits)
    order = class_order(trained, class_names) + class_order(others, class_names)
    index_of = {label: index for index, label in enumerate(order)}
    warnings = []
    if others:
        warnings.append(
            f"labels are identities, for retrieval: {len(others)} of {len(order)} do not occur in training"
        )
    values = np.array([index_of[label] for label in labels], dtype=np.int64)
    return LabelIndex([shown.get(label, label) for label in order], values, warnings)
