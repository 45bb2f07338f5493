import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdkd_core.data.column_file import write_columns
from fdkd_core.data.columns import TextColumn
from fdkd_core.data.description import Description
from fdkd_core.data.limits import DEFAULT
from fdkd_core.data.parquet_process import read_answer, write_answer
from fdkd_core.data.reading import read_table
from fdkd_core.data.source import open_regular
from fdkd_core.errors import DatasetError, Problem, StorageError

ProblemsOf = Callable[..., list[Problem]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.parquet"
    columns = {
        "split": ["train"] * 4 + ["val"] * 2 + ["test"] * 2,
        "label": ["sit", "walk"] * 4,
        "image": [b"pixels %d" % n for n in range(8)],
        "feat": np.arange(32.0).reshape(8, 4).tolist(),
    }
    pq.write_table(pa.table(columns), path)
    return path


def test_reads_in_a_child_and_leaves_nothing(path: Path, temporary_folder: Path) -> None:
    table = read_table(path)
    assert table.labels.names == ["sit", "walk"] * 4
    assert table.columns["image"].read(3) == b"pixels 3"
    assert np.array_equal(table.columns["feat"].read(2), [8.0, 9.0, 10.0, 11.0])
    assert list(temporary_folder.iterdir()) == []


def test_problems_come_back_from_the_child(path: Path, problems_of: ProblemsOf) -> None:
    path.write_bytes(path.read_bytes()[:-10] + b"\xff" * 2 + b"PAR1")
    assert problems_of(path)[0].code == "invalid_parquet"


def test_a_crash_of_the_library_is_a_refusal(
    path: Path, problems_of: ProblemsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fakes" / "pyarrow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(package.parent)
    (problem,) = problems_of(path)
    assert problem.code == "invalid_parquet"
    assert "SIGABRT" in problem.detail


def test_a_child_that_cannot_start_is_our_fault(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fakes" / "pyarrow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('no such wheel')")
    monkeypatch.syspath_prepend(package.parent)
    with pytest.raises(RuntimeError, match="no such wheel"):
        read_table(path)


def test_memory_is_granted_after_the_footer_was_checked(path: Path) -> None:
    granted: list[int] = []
    with tempfile.TemporaryFile() as answer:
        write_answer(answer, open_regular(path), Description(), DEFAULT, granted.append)
        assert read_answer(answer).num_rows == 8
    assert len(granted) == 1
    assert 256 < granted[0] < 10_000


@pytest.mark.parametrize(("raised", "said"), [(MemoryError(), "more memory"), (IndexError(), "IndexError")])
def test_whatever_the_library_raises_is_a_refusal(
    path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise raised

    monkeypatch.setattr("fdkd_core.data.parquet_columns.read_columns", fail)
    with tempfile.TemporaryFile() as answer:
        write_answer(answer, open_regular(path), Description(), DEFAULT)
        with pytest.raises(DatasetError) as caught:
            read_answer(answer)
    assert caught.value.problems[0].code == "invalid_parquet"
    assert said in caught.value.problems[0].detail


def test_a_full_disk_is_said_to_be_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail_once(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        write_columns(*arguments)

    monkeypatch.setattr("fdkd_core.data.parquet_process.write_columns", fail_once)
    with tempfile.TemporaryFile() as answer:
        write_answer(answer, open_regular(path), Description(), DEFAULT)
        with pytest.raises(StorageError):
            read_answer(answer)


GOOD = {"num_rows": 1, "cells": {"label": ["a"], "text": []}, "problems": [], "warnings": [], "missing": {}}


@pytest.mark.parametrize(
    "header",
    [
        {},
        {**GOOD, "num_rows": 2},
        {**GOOD, "num_rows": "many"},
        {**GOOD, "cells": {"label": ["a", "b"]}},
        {**GOOD, "cells": 3},
        {**GOOD, "problems": [{"what": "x"}]},
        {**GOOD, "warnings": 3},
        {**GOOD, "missing": 3},
        {**GOOD, "missing": {"text": 3}},
        {**GOOD, "missing": {"text": [1]}},
        {**GOOD, "missing": {"text": [-1]}},
        {**GOOD, "missing": {"text": [False]}},
        {"fatal": [3]},
    ],
)
def test_believes_no_answer(header: dict[str, Any]) -> None:
    for fine, shown in ((True, GOOD), (False, header)):
        with tempfile.TemporaryFile() as answer:
            write_columns(answer, shown, [TextColumn("text", ["x"])])
            if fine:
                assert read_answer(answer).columns[0].read(0) == "x"
                continue
            with pytest.raises(DatasetError) as caught:
                read_answer(answer)
            assert caught.value.problems[0].code == "invalid_parquet"
