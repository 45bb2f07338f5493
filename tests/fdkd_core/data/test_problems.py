import pytest

from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import DatasetError


def test_keeps_the_lowest_rows_of_each_code_and_counts_the_rest() -> None:
    log = ProblemLog(max_bad_rows=3)
    for row in range(1_000, 0, -1):
        log.add("invalid_label", "bad", row=row)
    log.add("missing_file", "gone", row=7)
    problems = log.problems()
    assert [(p.code, p.row) for p in problems[:4]] == [
        ("invalid_label", 1),
        ("invalid_label", 2),
        ("invalid_label", 3),
        ("missing_file", 7),
    ]
    assert problems[4].row is None
    assert "1000" in problems[4].detail
    assert len(problems) == 5
    assert log.count("invalid_label") == 1_000


def test_a_broken_row_is_reported_once() -> None:
    log = ProblemLog()
    log.break_row(2, "invalid_csv", "ragged")
    log.add("invalid_label", "empty", row=2)
    log.add("invalid_label", "empty", row=3)
    assert [(p.code, p.row) for p in log.problems()] == [("invalid_csv", 2), ("invalid_label", 3)]


def test_raises_only_when_there_is_something() -> None:
    log = ProblemLog()
    log.raise_if_any()
    assert not log
    log.add("invalid_csv", "bad")
    with pytest.raises(DatasetError):
        log.raise_if_any()


def test_takes_problems_found_elsewhere() -> None:
    log, other = ProblemLog(), ProblemLog()
    other.add("invalid_values", "bad", row=3, pointer="text")
    log.extend(other.problems())
    assert log.problems() == other.problems()
