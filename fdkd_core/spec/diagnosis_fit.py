"""Whether data have as many pairs as a diagnosis looks at."""

from __future__ import annotations

from fdkd_core.errors import Problem

LEAST_PAIRS = 12
"""Training rows with both modalities: a third of them is held out, and the folds of a regression need 4."""


def pair_problems(*rows: int) -> list[Problem]:
    """What a diagnosis says of so few pairs.

    Args:
        rows: Training rows that have both the teacher's modality and the student's, or of each of the two the
            most that may.

    Returns:
        `dataset_too_small`: There are fewer than `LEAST_PAIRS`.
    """
    pairs = min(rows, default=LEAST_PAIRS)
    if pairs >= LEAST_PAIRS:
        return []
    detail = (
        f"a diagnosis looks at pairs, and needs at least {LEAST_PAIRS} training rows with both modalities; "
        f"found {pairs}"
    )
    return [Problem("dataset_too_small", detail, "/dataset")]
