"""What the rows of a test split add to a figure, kept small enough to stand in a result."""

from __future__ import annotations

from fdkd_core.spec.strict import StrictModel
from fdkd_core.spec.uplift import GroupedBy, groups_words

SEEDS = "seeds"
"""All that intervals are over where nothing is known of rows."""


class RowBlocks(StrictModel):
    """Sums over blocks of test rows: by their spread is known how far other rows would move a figure.

    Blocks are the same for the same data. None has rows of two groups, unless there are more groups than
    blocks.
    """

    shares: list[float]
    """By block: what its rows add to the figure, up to a constant, mean over the final runs."""
    chance: list[float]
    """The same of who looks at no sample."""
    rows: list[int]
    """By block: how many it has."""
    groups: list[int] | None
    """By block: number of its group; null where rows are independent."""
    num_groups: int | None
    """How many groups the rows are of; null where they are independent."""
    grouped_by: GroupedBy | None
    """What makes them groups; null where they are independent."""

    @property
    def words(self) -> str:
        """What an interval is over that covers other rows too."""
        if self.num_groups is None:
            return f"{SEEDS} and test rows"
        return f"{SEEDS} and the {groups_words(self.num_groups, self.grouped_by)} of the test split"
