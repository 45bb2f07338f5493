"""How the rows of a job were paired, in words."""

from __future__ import annotations

from typing import Protocol

from fdkd_core.spec.phase_words import teacher_words


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

    @property
    def untaught_rows(self) -> int | None:
        """Those of them that were taught by their label alone; null where that is not known."""


def pairing_sentence(rows: PairedRows) -> str:
    """What each row was taught with; without a full stop."""
    has = "has" if rows.paired_rows == 1 else "have"
    share = (
        f"{rows.paired_rows:,} of {rows.training_rows:,} training rows {has} a view of "
        f"{teacher_words(rows.teacher)}"
    )
    if rows.unlabelled_rows:
        share += f", and {rows.unlabelled_rows:,} no label but its answer"
    if rows.pairing == "class":
        share += "; the means of each class taught all rows of it"
        if not rows.untaught_rows:
            return share
        without = (
            f"{rows.untaught_rows:,} {'is' if rows.untaught_rows == 1 else 'are'} of a class without one"
        )
        return f"{share}, but {without}, from which the student learnt the label alone"
    if rows.paired_rows == rows.training_rows:
        return share
    return f"{share}; from the others the student learnt the labels alone"


def goes_without_saying(rows: PairedRows) -> bool:
    """Whether each row has a label and a view of its own, as most data do."""
    is_whole = rows.paired_rows == rows.training_rows and not rows.unlabelled_rows
    return is_whole and rows.pairing == "instance"
