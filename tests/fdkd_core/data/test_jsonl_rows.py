import pytest

from fdkd_core.data.cells import Cells
from fdkd_core.data.jsonl_rows import parse_jsonl
from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.errors import DatasetError, Problem

GOOD = b'{"id": 1, "t": "a"}\n'


def parsed(content: bytes, limits: Limits = DEFAULT) -> Cells:
    log = ProblemLog()
    cells = parse_jsonl(content, log, limits)
    log.raise_if_any()
    return cells


def refused(content: bytes, limits: Limits = DEFAULT) -> list[Problem]:
    with pytest.raises(DatasetError) as caught:
        parsed(content, limits)
    return list(caught.value.problems)


def test_reads_objects_with_keys_in_any_order() -> None:
    cells = parsed(
        b'\xef\xbb\xbf{"id": 1, "t": "\xc3\xbc", "n": null}\r\n{"t": "b", "n": 0.5, "id": "x"}\n\n'
    )
    assert cells.names == ["id", "t", "n"]
    assert cells.columns == [[1, "x"], ["ü", "b"], [None, 0.5]]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b'"text"',
        b"{}",
        b"",
        b'{"id": 1}',
        b'{"id": 1, "t": "a", "x": 2}',
        b'{"id": 1, "t": "a", "t": "b"}',
        b'{"id": 1, "t": NaN}',
        b'{"id": 1, "t": Infinity}',
        b'{"id": 1, "t": [1, 2]}',
        b'{"id": 1, "t": {"a": 1}}',
        b'{"id": 1, "t": "\\ud800"}',
        b'{"id": 1, "t": "\xff"}',
        b'{"id": 1, "t": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_refuses_a_bad_line_by_its_number(line: bytes) -> None:
    problems = refused(GOOD * 3 + line + b"\n" + GOOD)
    assert [(problem.code, problem.row) for problem in problems] == [("invalid_jsonl", 4)]
    assert "line 4" in problems[0].detail


def test_finds_one_bad_line_in_many() -> None:
    assert [p.row for p in refused(GOOD * 50_000 + b"{bad}\n" + GOOD * 50_000)] == [50_001]


def test_refuses_a_long_line() -> None:
    line = b'{"id": 1, "t": "' + b"x" * DEFAULT.max_line_bytes + b'"}\n'
    assert [(p.code, p.row) for p in refused(GOOD + line + GOOD)] == [("exceeds_limit", 2)]


def test_refuses_too_many_lines_and_keys() -> None:
    assert refused(GOOD * 3, Limits(max_rows=2))[0].code == "exceeds_limit"
    assert parsed(GOOD * 2, Limits(max_rows=2)).num_rows == 2
    assert refused(GOOD, Limits(max_columns=1))[0].code == "exceeds_limit"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"nothing\n" * 2_000])
def test_refuses_a_file_without_rows(content: bytes) -> None:
    assert refused(content)[0].code == "invalid_jsonl"


def test_labels_may_be_lists() -> None:
    log = ProblemLog()
    cells = parse_jsonl(b'{"label": ["a", "b"], "t": 1}\n{"label": [], "t": 2}\n', log, Limits())
    assert not log
    assert cells.columns[cells.names.index("label")] == [["a", "b"], []]


@pytest.mark.parametrize(
    "bad", ['{"label": [["a"]]}', '{"label": [{}]}', '{"label": ["\\ud800"]}', '{"label": {}}', '{"t": [1]}']
)
def test_other_lists_are_refused(bad: str) -> None:
    log = ProblemLog()
    parse_jsonl(bad.encode(), log, Limits())
    assert [(problem.code, problem.row) for problem in log.problems()] == [("invalid_jsonl", 1)]
