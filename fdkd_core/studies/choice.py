"""Which trial of a study is taken: the spec as stated, unless another is ahead of it by more than noise.

The best of a few trials on a small validation split is mostly luck, also with the people in that split, which
fresh seeds do not undo. So what was stated, with its reasons, stays unless the rows speak against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.row_noise import row_noise
from fdkd_core.studies.decision import Difference, in_words


@dataclass(frozen=True)
class Choice:
    """A trial, and why it."""

    index: int
    reason: str
    """A sentence; empty where there was nothing to choose from."""


def choose(
    values: Sequence[float],
    shares: Mapping[int, NDArray[np.floating[Any]]],
    groups: NDArray[np.int64] | None,
    select_by: str,
    *,
    best: bool,
) -> Choice:
    """Chooses among the trials of one method; as for equals, the earlier one wins.

    The difference to the spec as stated is that of the two on the same validation rows; its standard error is
    over groups of rows where there are some. One seed each: what other seeds would do is not in it.

    References:
        The rule of one standard error, Breiman et al. 1984, with what was stated in place of the simplest.

    Args:
        values: Figure of each trial on validation, larger is better, the spec as stated first; -inf where it
            diverged, which not all may have.
        shares: What every validation row adds to it, shape [rows], of the trials that did not.
        groups: Of the validation rows, shape [rows]; None where they are independent.
        select_by: Name of the figure.
        best: Take the best, however little it is ahead.
    """
    leader = max(range(len(values)), key=lambda index: values[index])
    if len(values) == 1:
        return Choice(0, "")
    if 0 not in shares:
        return Choice(leader, "The best on validation; as stated, training diverged.")
    if leader == 0:
        return Choice(0, "As stated, which is the best on validation.")
    error = row_noise(shares[leader] - shares[0], groups).standard_error
    ahead = Difference(values[leader] - values[0], error)
    amount = in_words(ahead, select_by)
    if best:
        return Choice(leader, f"The best on validation, ahead of the spec as stated by {amount}.")
    if ahead.is_beyond_noise:
        return Choice(
            leader, f"The best on validation, ahead of the spec as stated by more than noise: {amount}."
        )
    return Choice(0, f"As stated: the best on validation is ahead of it by no more than noise, {amount}.")
