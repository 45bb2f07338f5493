"""Collecting everything that is wrong with a data set, so that one run reports all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fdkd_core.data.limits import DEFAULT
from fdkd_core.errors import DatasetError, Problem


@dataclass
class _OfOneCode:
    count: int = 0
    first: list[Problem] = field(default_factory=list)


class ProblemLog:
    """Problems found so far. Keeps the first rows per code and counts the rest.

    Args:
        max_bad_rows: Problems kept per code, those of the lowest rows.
    """

    def __init__(self, max_bad_rows: int = DEFAULT.max_bad_rows) -> None:
        self._max_bad_rows = max_bad_rows
        self._by_code: dict[str, _OfOneCode] = {}
        self._broken: set[int] = set()
        self._num_noted = 0

    def __len__(self) -> int:
        return self._num_noted

    def add(self, code: str, detail: str, *, row: int | None = None, pointer: str | None = None) -> None:
        """Notes one problem.

        Args:
            code: Machine-readable name.
            detail: One sentence.
            row: Row of the data, counted from 1.
            pointer: Name of the column, or JSON pointer into dataset.yaml.
        """
        if row is not None and row in self._broken:
            return
        of_code = self._by_code.setdefault(code, _OfOneCode())
        of_code.count += 1
        self._num_noted += 1
        of_code.first.append(Problem(code, detail, pointer, row))
        if len(of_code.first) > 8 * self._max_bad_rows:  # a million bad rows must not fill the memory
            of_code.first = self._lowest(of_code.first)

    def break_row(self, row: int, code: str, detail: str) -> None:
        """Notes that a row could not be read at all; nothing more is noted about it afterwards."""
        self.add(code, detail, row=row)
        self._broken.add(row)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Notes problems found elsewhere."""
        for problem in problems:
            self.add(problem.code, problem.detail, row=problem.row, pointer=problem.pointer)

    def count(self, code: str) -> int:
        """How often a code was noted."""
        return self._by_code[code].count if code in self._by_code else 0

    def problems(self) -> list[Problem]:
        """Those to report: without a row first, then by row; a note where there are more than shown."""
        shown: list[Problem] = []
        notes: list[Problem] = []
        for code, of_code in self._by_code.items():
            first = self._lowest(of_code.first)
            shown += first
            if of_code.count > len(first):
                notes.append(
                    Problem(code, f"{of_code.count} problems of this kind; the first {len(first)} are listed")
                )
        return sorted(shown, key=_row_of) + notes

    def raise_if_any(self) -> None:
        """Raises everything noted.

        Raises:
            DatasetError: With the problems, when there is one.
        """
        if self._by_code:
            raise DatasetError(self.problems())

    def _lowest(self, problems: list[Problem]) -> list[Problem]:
        return sorted(problems, key=_row_of)[: self._max_bad_rows]


def _row_of(problem: Problem) -> int:
    return problem.row or 0
