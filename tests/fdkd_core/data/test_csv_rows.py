import csv

import pytest

from fdkd_core.data.cells import Cells
from fdkd_core.data.csv_rows import parse_csv
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import DatasetError, Problem


def parsed(content: bytes, limits: Limits = DEFAULT) -> Cells:
    log = ProblemLog()
    cells = parse_csv(content, log, limits)
    log.raise_if_any()
    return cells


def refused(content: bytes, limits: Limits = DEFAULT) -> list[Problem]:
    with pytest.raises(DatasetError) as caught:
        parsed(content, limits)
    return list(caught.value.problems)


def test_reads_quotes_line_ends_and_empty_lines() -> None:
    cells = parsed(b'id, text\r\n1,"a, ""b""\nsecond line"\r\n\r\n2,\xc3\xbc\r\n')
    assert cells.names == ["id", "text"]
    assert cells.columns == [["1", "2"], ['a, "b"\nsecond line', "ü"]]
    assert cells.num_rows == 2
    assert cells.warnings == []


def test_formulas_stay_text() -> None:
    assert parsed(b"id,t\n1,=cmd()\n2,@SUM(A1)\n").columns[1] == ["=cmd()", "@SUM(A1)"]


def test_a_byte_order_mark_is_passed_over_and_reported() -> None:
    cells = parsed(b"\xef\xbb\xbfid,t\n1,a\n")
    assert cells.names == ["id", "t"]
    assert "byte order mark" in cells.warnings[0]


def test_a_header_alone_has_no_rows() -> None:
    cells = parsed(b"id,t\n")
    assert (cells.columns, cells.num_rows) == ([[], []], 0)


@pytest.mark.parametrize(
    ("content", "row", "said"),
    [
        (b'id,t\n1,a\n2,"open\n3,c\n', 2, "never closed"),
        (b'id,t\n1,a\n2,"b"x\n', 2, "cannot be read"),
        (b"id,t\n1,a\n2,b,c\n3,d\n", 2, "3 cells"),
        (b"id,t\n1,a\n2\n", 2, "1 cells"),
        (b"id,t\n1,a\n2,b\0\n", 2, "NUL"),
        (b"id,t\n1,a\n2,\xfc\n", 2, "0xfc"),
        (b"id,t\n1,\xc3\xbc\n2,\xe9t\xe9\n", 2, "0xe9"),
        ("id,t\n1,a\n".encode("utf-16"), None, "UTF-16"),
        ("id,t\n1,a\n".encode("utf-16-be"), None, "NUL"),
        (b"id;split;label\n1;train;a\n", None, "commas"),
        (b"id\tsplit\n1\ttrain\n", None, "commas"),
        (b"", None, "empty"),
        (b'"id,t\n', None, "header"),
    ],
)
def test_refuses_malformed_text_with_its_row(content: bytes, row: int | None, said: str) -> None:
    (problem,) = refused(content)
    assert (problem.code, problem.row) == ("invalid_csv", row)
    assert said in problem.detail


def test_reports_ten_ragged_rows_at_once() -> None:
    problems = refused(b"id,t\n" + b"1,a,b\n" * 30)
    assert [problem.row for problem in problems] == [*range(1, 11), None]
    assert "30" in problems[-1].detail


def test_refuses_a_huge_cell_with_its_row() -> None:
    (problem,) = refused(b"id,t\n1,a\n2," + b"x" * (DEFAULT.max_cell_chars + 1) + b"\n")
    assert (problem.code, problem.row) == ("exceeds_limit", 2)


def test_takes_a_cell_longer_than_the_csv_module_does_by_default() -> None:
    before = csv.field_size_limit()
    assert len(str(parsed(b"id,t\n1," + b"x" * 500_000 + b"\n").columns[1][0])) == 500_000
    assert csv.field_size_limit() == before


def test_refuses_100_000_columns() -> None:
    header = b",".join(b"c%d" % number for number in range(100_000))
    assert refused(header + b"\n")[0].code == "exceeds_limit"


def test_refuses_too_many_rows() -> None:
    assert parsed(b"id\n1\n2\n", Limits(max_rows=2)).num_rows == 2
    assert refused(b"id\n1\n2\n3\n", Limits(max_rows=2))[0].code == "exceeds_limit"
