"""Decodes the columns of a table: each distinct value once, into one array."""

from __future__ import annotations

import os
import queue
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.data.table import ModalityData
from fdkd_core.errors import DatasetError, Problem, StorageError
from fdkd_core.modalities import kind_of
from fdkd_core.modalities.base import RawColumn, RawValue, Recipe, RowError
from fdkd_core.modalities.decoder_process import Decode, DecoderProcess, DecodeTask
from fdkd_core.modalities.options import MAX_PROBLEMS

Progress = Callable[[int, int], None]
"""Called with values done and values in all."""

IN_MEMORY_BYTES = 1 << 30
"""A decoded column up to this size is kept in memory, a larger one in a memory-mapped file, whose pages the
system can drop under pressure."""
MAX_WORKERS = 4
"""Children by default, where there are as many processors: each holds 60 MB and takes 0.65 s to start.
Reading is no limit to more of them (a twentieth of the time of decoding); state `workers` for large data."""
VALUES_PER_WORKER = 1024
"""A child takes 0.65 s of a processor to start. 28 x 28 PNG take 0.15 ms each, half-second WAV 0.5 ms, so for
fewer than this a second child does not pay; photographs of 1.5 MP (15 ms) would gain a little earlier."""
_CHUNK_VALUES = 64
_CHUNK_BYTES = 4 << 20
"""Sent to a child at a time: enough that the exchange (0.15 ms) does not count, little enough that
all children finish together."""


class DistinctValues:
    """Which rows of a column share a value.

    Args:
        column: The column.
        first: Rows whose values come first, so that those of the training split lie together.
        missing: Shape [rows]: which rows have no value; None when all have.
    """

    def __init__(
        self, column: RawColumn, first: Sequence[int] = (), missing: NDArray[np.bool_] | None = None
    ) -> None:
        number_of: dict[Hashable, int] = {}
        self.rows: list[int] = []
        """Of each value, the lowest row that has it."""
        self.index = np.full(len(column), -1, dtype=np.int64)
        """Number of the value of each row; -1 where there is none."""
        self.num_first = 0
        """Values of the `first` rows: numbers 0 to num_first - 1."""
        for rows in (first, range(len(column))):
            for row in rows:
                if missing is not None and missing[row]:
                    continue
                key = column.key(row)
                number = number_of.setdefault(key, len(number_of))
                if number == len(self.rows):
                    self.rows.append(row)
                elif row < self.rows[number]:
                    self.rows[number] = row
                self.index[row] = number
            if rows is first:
                self.num_first = len(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class DecoderPool:
    """Child processes shared by the columns of a data set; each is started when it is first needed.

    Args:
        workers: Children at most; None takes one per processor, up to four.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is None:
            has_affinity = hasattr(os, "sched_getaffinity")
            processors = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
            workers = min(processors, MAX_WORKERS)
        self.workers = workers
        # The last one used comes first: no second child is started where one keeps up.
        self._idle: queue.LifoQueue[DecoderProcess] = queue.LifoQueue()
        self._children = [DecoderProcess() for _ in range(workers)]
        for child in self._children:
            self._idle.put(child)

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.close()

    def decode(self, task: DecodeTask, values: Sequence[RawValue]) -> list[NDArray[Any] | RowError]:
        """Waits for a child that is idle and lets it decode; called by as many threads as `workers`."""
        child = self._idle.get()
        try:
            return child.decode(task, values)
        finally:
            self._idle.put(child)


def decode_column(
    column: RawColumn,
    recipe: Recipe,
    *,
    workers: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    pool: DecoderPool | None = None,
    distinct: DistinctValues | None = None,
    decode: Decode | None = None,
    in_memory_bytes: int = IN_MEMORY_BYTES,
) -> ModalityData:
    """Decodes a column.

    Args:
        column: Raw values.
        recipe: Resolved; it need not be fitted yet.
        workers: Child processes for image and audio files; None chooses, 0 decodes here without
            protection, for files one has made oneself.
        cache_dir: Where the memory-mapped file of a large column goes; it has no name there and vanishes
            with the process. None takes the system's temporary folder.
        progress: Called now and then.
        pool: Children to use instead of own ones; `workers` is then that of the pool.
        distinct: The column's distinct values, where they are already known.
        decode: Takes the place of the kind's own `decode`.
        in_memory_bytes: Size from which a file is used.

    Raises:
        DatasetError: Up to ten bad rows, each with its number, counted from 1, and the column's name.
        StorageError: There is no room for the file.
    """
    kind = kind_of(recipe)
    distinct = distinct or DistinctValues(column)
    decode = decode or kind.decode
    shape = (len(distinct), *recipe["input_shape"])
    values = _allocate(shape, kind.stored_dtype, in_memory_bytes, cache_dir)
    bad: list[Problem] = []
    # Arrays and text are read by numpy and Rust alone; only files need a C decoder.
    is_native = kind.is_native and len(distinct) > 0 and _is_file(column, distinct.rows[0])
    with ExitStack() as stack:
        if is_native and pool is None:
            pool = stack.enter_context(DecoderPool(workers))
        if is_native and pool is not None and pool.workers > 0:
            task = DecodeTask(decode, recipe, kind.stored_dtype)
            outcomes = _decode_in_children(column, distinct, task, pool)
        else:
            outcomes = _decode_here(column, distinct, decode, recipe)
        stack.callback(outcomes.close)
        for done, (number, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, RowError):
                row = distinct.rows[number]
                bad.append(Problem(outcome.code, outcome.detail, pointer=column.name, row=row + 1))
                if len(bad) == MAX_PROBLEMS:
                    break
            else:
                values[number] = outcome
            if progress is not None and (done % 256 == 0 or done == len(distinct)):
                progress(done, len(distinct))
    if bad:
        raise DatasetError(sorted(bad, key=lambda problem: problem.row or 0))
    return ModalityData(recipe, values, distinct.index)


def _is_file(column: RawColumn, row: int) -> bool:
    try:
        return isinstance(column.read(row), bytes)
    except RowError:
        return True


_Outcome = tuple[int, NDArray[Any] | RowError]
"""Number of a value, and what became of it."""


def _decode_here(
    column: RawColumn, distinct: DistinctValues, decode: Decode, recipe: Recipe
) -> Generator[_Outcome, None, None]:
    for number, row in enumerate(distinct.rows):
        try:
            yield number, decode(column.read(row), recipe)
        except RowError as error:
            yield number, error


def _decode_in_children(
    column: RawColumn, distinct: DistinctValues, task: DecodeTask, pool: DecoderPool
) -> Generator[_Outcome, None, None]:
    """Reads here, decodes there; a few chunks are under way at a time, which bounds memory."""
    num_threads = max(1, min(pool.workers, len(distinct) // VALUES_PER_WORKER))
    threads = ThreadPoolExecutor(num_threads)  # they only wait for their child
    try:
        pending: deque[tuple[list[int], Future[list[NDArray[Any] | RowError]]]] = deque()
        for numbers, values, refused in _chunks(column, distinct):
            yield from refused
            if numbers:
                pending.append((numbers, threads.submit(pool.decode, task, values)))
            if len(pending) > 2 * num_threads:
                yield from _collect(pending.popleft())
        while pending:
            yield from _collect(pending.popleft())
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


def _collect(chunk: tuple[list[int], Future[list[NDArray[Any] | RowError]]]) -> Iterator[_Outcome]:
    numbers, future = chunk
    return zip(numbers, future.result(), strict=True)


def _chunks(
    column: RawColumn, distinct: DistinctValues
) -> Iterator[tuple[list[int], list[RawValue], list[_Outcome]]]:
    """Numbers and raw values of some values, and those that could not even be read."""
    numbers: list[int] = []
    values: list[RawValue] = []
    refused: list[_Outcome] = []
    num_bytes = 0
    for number, row in enumerate(distinct.rows):
        try:
            raw = column.read(row)
        except RowError as error:
            refused.append((number, error))
            continue
        numbers.append(number)
        values.append(raw)
        num_bytes += len(raw) if isinstance(raw, bytes) else 0
        if len(numbers) == _CHUNK_VALUES or num_bytes >= _CHUNK_BYTES:
            yield numbers, values, refused
            numbers, values, refused, num_bytes = [], [], [], 0
    yield numbers, values, refused


def _allocate(
    shape: tuple[int, ...], dtype: np.dtype[Any], in_memory_bytes: int, cache_dir: Path | None
) -> NDArray[Any]:
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if num_bytes <= in_memory_bytes:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(dir=cache_dir) as file:
            # Claims the space now: on a full disk, writing to the mapping would kill the process.
            os.posix_fallocate(file.fileno(), 0, num_bytes)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        detail = f"no room for {num_bytes >> 20} MiB of decoded data in {cache_dir or tempfile.gettempdir()}"
        raise StorageError(f"{detail}: {error.strerror}") from error
