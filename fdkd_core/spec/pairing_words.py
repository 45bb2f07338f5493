"""How the rows of a job were paired, in words."""

from __future__ import annotations

from typing import Protocol


class PairedRows(Protocol):
    """`TaughtRows` of a result, or what a client read of it."""

    @property
    def teacher(self) -> str:
        """Its phase."""

    @property
    def pairing(self) -> str:
        """`instance` or `class`."""

    @property
    def paired_rows(self) -> int:
        """With a view of their own."""

    @property
    def training_rows(self) -> int:
        """All that the student was trained on."""

    @property
    def unlabelled_rows(self) -> int:
        """Those of them without a label."""


def pairing_sentence(rows: PairedRows) -> str:
    """What each row was taught with; without a full stop."""
    share = f"{rows.paired_rows:,} of {rows.training_rows:,} training rows have a view of the {rows.teacher}"
    if rows.unlabelled_rows:
        share += f", and {rows.unlabelled_rows:,} no label but its answer"
    if rows.pairing == "class":
        return f"{share}; their means taught each class"
    if rows.paired_rows == rows.training_rows:
        return share
    return f"{share}; from the others the student learnt the labels alone"


def goes_without_saying(rows: PairedRows) -> bool:
    """Whether each row has a label and a view of its own, as most data do."""
    is_whole = rows.paired_rows == rows.training_rows and not rows.unlabelled_rows
    return is_whole and rows.pairing == "instance"
