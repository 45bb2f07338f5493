"""The child process in which a user's parquet file is read: pyarrow is C++ code, and a bad file may end it.

Found while testing: one wrong byte in the statistics of a footer makes pyarrow 26 abort the process.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.column_file import ColumnFileError, read_columns, write_columns
from fdkd_core.data.description import Description
from fdkd_core.data.limits import GiB, Limits
from fdkd_core.data.problems import ProblemLog
from fdkd_core.data.source import OpenFile
from fdkd_core.errors import DatasetError, Problem, StorageError
from fdkd_core.modalities.base import RawColumn

_BASE_BYTES = 1 * GiB
"""Address space for reading the footer, beyond what the child has after its imports."""
_COPIES = 4
"""Address space per byte of values: pages, Arrow's array, our array, and slack for the allocators."""
_CPU_SECONDS = 600
"""8 GiB take about a minute."""
_OPEN_FILES = 32
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")


@dataclass(frozen=True)
class ParquetAnswer:
    """What the child found."""

    num_rows: int
    cells: dict[str, list[object]]
    """The annotations by column; other columns have no cells."""
    columns: list[RawColumn]
    """The modalities, unless there are problems. They lie in a temporary file without a name."""
    missing: dict[str, NDArray[np.bool_]]
    """Rows without a value by column, where there are some."""
    problems: list[Problem]
    """Wrong with single rows of the modalities."""
    warnings: list[str]


def read_in_child(file: OpenFile, description: Description, limits: Limits) -> ParquetAnswer:
    """Reads a parquet file in a child with limited memory and time.

    Args:
        file: The open file.
        description: Its `group` and `ignore` apply.
        limits: Sizes allowed.

    Raises:
        DatasetError: The file as a whole cannot be used, or the child did not survive it: `invalid_parquet`.
        StorageError: No room for the columns.
    """
    request = {"description": description.model_dump(), "limits": asdict(limits), "file_name": file.name}
    with tempfile.TemporaryFile() as answer:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from fdkd_core.data.parquet_process import serve; "
            f"serve({file.descriptor}, {answer.fileno()})"
        )
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        # The default allocator reserves more address space than it uses, which the limit would count.
        environment |= {
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "OMP_NUM_THREADS": "1",
            "ARROW_IO_THREADS": "1",
        }
        done = subprocess.run(  # noqa: S603 - our own interpreter and our own code
            [sys.executable, "-P", "-c", code],
            input=json.dumps(request).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=[file.descriptor, answer.fileno()],
            check=False,
        )
        if done.returncode < 0:
            name = signal.Signals(-done.returncode).name
            raise DatasetError(_invalid(f"the reader did not survive this file ({name})"))
        if done.returncode > 0:
            raise RuntimeError(f"the parquet process failed: {done.stderr[-2000:].decode(errors='replace')}")
        return read_answer(answer)


def serve(source: int, answer: int) -> None:
    """The child: reads the request from standard input and the parquet file from one descriptor.

    Args:
        source: Of the parquet file.
        answer: Of the file to write the answer to.
    """
    import fdkd_core.data.parquet_columns  # noqa: F401 - loaded before memory is counted

    request = json.loads(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    held = _held_bytes()
    _limit_memory(held + _BASE_BYTES)
    with open(answer, "wb", closefd=False) as file:
        write_answer(
            file,
            OpenFile(source, request["file_name"]),
            Description.model_validate(request["description"]),
            Limits(**request["limits"]),
            lambda num_bytes: _limit_memory(held + _BASE_BYTES + _COPIES * num_bytes),
        )


def write_answer(
    answer: BinaryIO,
    file: OpenFile,
    description: Description,
    limits: Limits,
    grant_bytes: Callable[[int], None] | None = None,
) -> None:
    """Reads the parquet file and writes what came of it. Raises nothing about the file.

    Args:
        answer: Empty, open for writing.
        file: The parquet file.
        description: Its `group` and `ignore` apply.
        limits: Sizes allowed.
        grant_bytes: Called with the bytes that all values take, once they are known to be allowed.
    """
    # pyarrow is loaded in the child alone.
    from fdkd_core.data import parquet_columns

    log = ProblemLog(limits.max_bad_rows)
    columns: list[RawColumn] = []
    header: dict[str, Any] = {}
    try:
        content = parquet_columns.read_columns(file, description, log, limits, grant_bytes)
    except DatasetError as error:
        header["fatal"] = [problem.as_dict() for problem in error.problems]
    except MemoryError:
        header["fatal"] = [_invalid("reading it takes more memory than its size allows").as_dict()]
    except Exception as error:  # whatever the library raises for this file
        header["fatal"] = [_invalid(f"the reader failed with {type(error).__name__}").as_dict()]
    else:
        header = {"num_rows": content.num_rows, "cells": content.cells, "warnings": content.warnings}
        header["missing"] = content.missing
        header["problems"] = [problem.as_dict() for problem in log.problems()]
        columns = [] if log else list(content.columns.values())
    try:
        write_columns(answer, header, columns)
    except OSError:
        answer.seek(0)
        answer.truncate()
        write_columns(answer, {"is_disk_full": True}, [])


def read_answer(file: BinaryIO) -> ParquetAnswer:
    """Takes what `write_answer` wrote, believing none of it.

    Raises:
        DatasetError: What the child refused; or `invalid_parquet` when the answer makes no sense.
        StorageError: The child had no room to write.
    """
    try:
        header, columns = read_columns(file)
        if header.get("is_disk_full"):
            raise StorageError("no room for the columns of the parquet file")
        if "fatal" in header:
            raise DatasetError([Problem(**problem) for problem in header["fatal"]])
        problems = [Problem(**problem) for problem in header["problems"]]
        num_rows, cells = int(header["num_rows"]), dict(header["cells"])
        if any(len(values) not in (0, num_rows) for values in cells.values()):
            raise ColumnFileError("an annotation of another length")
        if any(len(column) != num_rows for column in columns):
            raise ColumnFileError("a column of another length")
        missing = {str(name): _marked(rows, num_rows) for name, rows in header["missing"].items()}
        lines = [str(line) for line in header["warnings"]]
        return ParquetAnswer(num_rows, cells, columns, missing, problems, lines)
    except (ColumnFileError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(_invalid("the reader gave a broken answer about this file")) from error


def _marked(rows: list[int], num_rows: int) -> NDArray[np.bool_]:
    """Row numbers from 0 as a mask."""
    if not all(type(row) is int and 0 <= row < num_rows for row in rows):
        raise ColumnFileError("a missing row that is not there")
    mask = np.zeros(num_rows, dtype=bool)
    mask[np.array(rows, dtype=np.int64)] = True
    return mask


def _limit_memory(num_bytes: int) -> None:
    # The hard limit stays, so that the allowance can follow the footer.
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":  # elsewhere address space is no measure of memory
        resource.setrlimit(resource.RLIMIT_AS, (num_bytes, hard))


def _held_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _invalid(detail: str) -> Problem:
    return Problem("invalid_parquet", detail)
