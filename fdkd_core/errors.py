"""Every error the core raises on purpose. Free of torch, so that any process can import it.

FDKDError
 ├─ InputError                 the user's spec, data or weights are wrong; carries all problems found
 │   ├─ SpecError
 │   ├─ DatasetError
 │   ├─ ModelFileError
 │   └─ IncompatibleError      each part is fine alone, but they do not fit together
 ├─ TrainingDivergedError      a loss term stopped being finite
 ├─ TrainingInterrupted        asked to stop; a checkpoint was written
 ├─ GateFailedError            the student is not as good as its job asks for
 ├─ EveryMethodFailedError     of a comparison: nothing is left beside the control
 ├─ CheckpointError            no usable checkpoint, or one that belongs to another run
 ├─ StorageError               the disk is full, or the output folder cannot be made or written
 └─ OutOfMemoryError           the machine or the GPU has no memory left
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the user's input."""

    code: str
    """Stable machine-readable name, such as `unknown_field` or `image_too_large`."""
    detail: str
    """One sentence: what was found and what is allowed. At most 200 characters of input are echoed."""
    pointer: str | None = None
    """Where: a JSON pointer into the spec (`/training/epochs`) or a column name of the data."""
    row: int | None = None
    """Row of the data, counted from 1 without the header, where the problem belongs to one."""

    def as_dict(self) -> dict[str, str | int]:
        """The problem as JSON, without the fields that do not apply."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def sentence(self) -> str:
        """Where, and the detail: for people who are told the code elsewhere."""
        where = ", ".join(
            part for part in (f"row {self.row}" if self.row is not None else "", self.pointer or "") if part
        )
        return f"{where}: {self.detail}" if where else self.detail

    def __str__(self) -> str:
        return f"{self.sentence} [{self.code}]"


_WITHOUT_GLYPH = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Drawn as nothing, though Unicode counts them among letters, marks and symbols."""
_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
"""Of the variant of the character before: nothing by themselves."""


def visible(text: str) -> str:
    """One line that can be printed anywhere: letters of any script, and an escape for all else.

    Escaped is what commands a terminal, breaks the line of a log, changes the direction of what follows, or
    is not to be seen.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if not character.isprintable() or _is_blank(character) else character
        for character in text
    )


def _is_blank(character: str) -> bool:
    return character in _WITHOUT_GLYPH or any(ord(character) in selectors for selectors in _SELECTORS)


def quote(text: object, limit: int = 80) -> str:
    """`repr` of user input, made safe to print (`visible`): one line, at most `limit` characters."""
    shown = visible(repr(text))
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


MAX_NAMED = 10
"""Things named for each way of being wrong; the rest is counted."""


def first_problems(code: str, details: list[str]) -> list[Problem]:
    """A problem for each of the first ten details, made sentences, and one that counts the others."""
    shown = [Problem(code, f"{detail}.") for detail in details[:MAX_NAMED]]
    if len(details) > MAX_NAMED:
        shown.append(Problem(code, f"{len(details) - MAX_NAMED} more of this kind ({len(details)} in all)."))
    return shown


class FDKDError(Exception):
    """Something went wrong in the training core."""

    code = "internal"
    exit_code = 4
    """Of a process that ends with this error."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    def __reduce__(self) -> tuple[Any, ...]:
        # A pool of processes hands errors over pickled, and by default makes them anew from their message
        # alone: one that takes other arguments would end the pool instead of reaching whoever waits for it.
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[FDKDError], args: tuple[Any, ...]) -> FDKDError:
    """An error without its fields, which are put back afterwards."""
    return kind.__new__(kind, *args)


class InputError(FDKDError):
    """The input is not usable."""

    code = "invalid_input"
    exit_code = 2

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SpecError(InputError):
    """The job specification is not valid."""

    code = "invalid_spec"


class DatasetError(InputError):
    """The dataset cannot be used."""

    code = "invalid_dataset"


class ModelFileError(InputError):
    """The model file or bundle cannot be used."""

    code = "invalid_model"


class IncompatibleError(InputError):
    """Spec, data and weights do not fit together."""

    code = "incompatible"


ANSWERS = ("val", "test")
"""Instead of a loss term: the answers to the rows of this split."""


class TrainingDivergedError(FDKDError):
    """A loss term, or an answer of the network, became infinite or not a number.

    Args:
        step: Steps that had been taken.
        term: Name of the loss term, or one of `ANSWERS`.
        value: What it became.
        where: The beginning of the sentence, if there is more than one training.
        lower: Fields of the spec that are too high.
    """

    code = "diverged"
    exit_code = 3

    def __init__(
        self,
        step: int,
        term: str,
        value: float,
        *,
        where: str = "",
        lower: str = "training.optimizer.lr or the method's weights",
    ) -> None:
        self.step, self.term, self.value, self.lower = step, term, value, lower
        what = (
            f"the answers to {'validation' if term == 'val' else term} rows were not finite after step {step}"
            if term in ANSWERS
            else f"loss term {term!r} became {value} at step {step}; the optimiser step was not taken"
        )
        super().__init__(f"{where}{what}. Lower {lower}.")

    def inside(self, where: str = "", *, lower: str | None = None) -> TrainingDivergedError:
        """The same, told of one of several trainings, and with what there is to be lowered."""
        return type(self)(self.step, self.term, self.value, where=where, lower=lower or self.lower)


class TrainingInterrupted(FDKDError):  # noqa: N818 - a request that was honoured, not a fault
    """Training stopped at a step boundary because it was asked to; run again to resume."""

    code = "interrupted"
    exit_code = 75


class GateFailedError(FDKDError):
    """The student is not as good as its job asks for, and is not handed over."""

    code = "gate_failed"
    exit_code = 6

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        """One for each gate that had to be passed and was not, pointing into the spec."""
        super().__init__("\n".join(problem.detail for problem in self.problems))


class EveryMethodFailedError(FDKDError):
    """No method of a comparison has figures, so that there is nothing to compare."""

    code = "every_method_failed"
    exit_code = 3

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        """Why not, by the method's label."""
        told = "; ".join(f"{label} ({reason.rstrip('.')})" for label, reason in reasons.items())
        super().__init__(f"No method has figures, so that there is nothing to compare: {told}.")


class CheckpointError(FDKDError):
    """No checkpoint of this run can be used."""

    code = "invalid_checkpoint"


STORAGE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS})
"""Of an OSError: the disk is full, failing or read-only, which is no fault of who writes."""


class StorageError(FDKDError):
    """The output folder cannot be made or written: the disk may be full."""

    code = "storage_full"


class OutOfMemoryError(FDKDError):
    """The machine or the GPU has no memory left; lower training.batch_size or the model's width."""

    code = "out_of_memory"
    exit_code = 5
