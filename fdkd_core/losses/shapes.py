"""What losses refuse before they compute: shapes that do not belong together.

torch would broadcast most of them, and silently compare one sample with all others.
"""

from __future__ import annotations

from torch import Tensor


def check_same_shape(student: Tensor, teacher: Tensor, what: str) -> None:
    """Raises ValueError where the shapes differ. Args: what: `logits` or `features`, for the message."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher {what} differ in shape: {list(student.shape)} and {list(teacher.shape)}"
        )


def check_same_batch(student: Tensor, teacher: Tensor, what: str) -> None:
    """Raises ValueError unless both are matrices of as many rows; their widths may differ."""
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise ValueError(
            f"student and teacher {what} must be matrices of as many rows, whose shapes are "
            f"{list(student.shape)} and {list(teacher.shape)}"
        )


def check_same_places(student: Tensor, teacher: Tensor) -> None:
    """Raises ValueError unless both are maps of as many samples and places; their channels may differ."""
    if student.ndim != 4 or teacher.ndim != 4 or student[:, 0].shape != teacher[:, 0].shape:
        raise ValueError(
            "student and teacher maps must be of the same samples and places, their shapes are "
            f"{list(student.shape)} and {list(teacher.shape)}"
        )


def check_scores(student: Tensor, teacher: Tensor, labels: Tensor) -> None:
    """Raises ValueError unless both are logits of one shape, with a label per row and at least 2 classes."""
    check_same_shape(student, teacher, "logits")
    if labels.shape != student.shape[:1]:
        raise ValueError(
            f"logits and labels differ in shape: {list(student.shape)} and {list(labels.shape)}; "
            "one label per row is needed"
        )
    if student.shape[1] < 2:
        raise ValueError(f"at least 2 classes are needed; logits have the shape {list(student.shape)}")
