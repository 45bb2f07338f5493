"""Which kind a column is, where nobody said: from the first bytes and shapes of some of its values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fdkd_core.description_file import WHERE
from fdkd_core.errors import Problem, quote
from fdkd_core.modalities.arrays import NPY_MAGIC, read_npy_header
from fdkd_core.modalities.base import RawValue, RowError
from fdkd_core.modalities.image_header import read_image_header
from fdkd_core.modalities.options import OptionError
from fdkd_core.spec.catalogue import KindName

NUM_SAMPLES = 16
"""Values looked at: enough to notice a column that mixes kinds."""

AGREEING_FRAC = 0.75
"""Share of the recognised values that must be of one kind. The rest are bad rows, which decoding reports
better than a guess about the whole column could."""

_STATE_IT = f"state the kind (image, depth, audio, text, series, vector or map) in {WHERE}"


class InferredKind(NamedTuple):
    """A guess and why."""

    kind: KindName
    reason: str


def infer_kind(samples: Sequence[RawValue], file_names: Sequence[str | None]) -> InferredKind:
    """The kind that nearly all of some sample values agree on. The content decides; names only describe it.

    Args:
        samples: Raw values, `NUM_SAMPLES` or so.
        file_names: The member path behind each, or None.

    Raises:
        OptionError: `unknown_kind` when nothing fits, `mixed_kinds` when values disagree.
    """
    if not samples:
        raise OptionError(Problem("unknown_kind", f"there are no values to tell the kind from; {_STATE_IT}"))
    guesses, unknown = [], []
    for raw, name in zip(samples, file_names, strict=True):
        try:
            guesses.append(_infer_one(raw, name))
        except OptionError as error:
            unknown.append(error)
    if not guesses:
        raise unknown[0]
    kind, count = Counter(guess.kind for guess in guesses).most_common(1)[0]
    if count < AGREEING_FRAC * len(guesses):
        kinds = " and ".join(sorted({guess.kind for guess in guesses}))
        detail = f"the values look like {kinds}; a column has one kind"
        raise OptionError(Problem("mixed_kinds", detail))
    return next(guess for guess in guesses if guess.kind == kind)


def _infer_one(raw: RawValue, file_name: str | None) -> InferredKind:
    if isinstance(raw, str):
        return InferredKind("text", "the values are text")
    if isinstance(raw, np.ndarray):
        return _infer_array(raw.shape, raw.dtype)
    if raw.startswith(NPY_MAGIC):
        try:
            shape, dtype, *_ = read_npy_header(raw)
        except RowError as error:
            raise _unknown(f"a .npy file is refused ({error.detail})") from None
        return _infer_array(shape, dtype)
    if raw.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return _infer_picture(raw)
    if raw.startswith(b"fLaC") or (raw.startswith(b"RIFF") and raw[8:12] == b"WAVE"):
        return InferredKind("audio", f"the files are {'FLAC' if raw.startswith(b'fLaC') else 'WAV'}")
    if file_name is not None and file_name.lower().endswith((".txt", ".text", ".md")):
        return InferredKind("text", "the files are named as text")
    raise _unknown(f"found {quote(raw[:8])} in {quote(file_name or 'an inline value')}")


def _infer_picture(raw: bytes) -> InferredKind:
    try:
        header = read_image_header(raw)
    except RowError:
        return InferredKind("image", "the files are PNG or JPEG")  # decoding says which rows are bad, and why
    if header.format == "PNG" and header.is_gray and not header.has_alpha and header.bit_depth == 16:
        return InferredKind("depth", "the files are PNG with a single channel of 16 bits")
    return InferredKind("image", f"the files are {header.format}")


def _infer_array(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> InferredKind:
    is_picture = dtype == np.uint8 and (
        len(shape) == 2 or (len(shape) == 3 and (shape[0] in (1, 3) or shape[2] in (1, 3)))
    )
    reason = f"the values are arrays of {dtype} with {len(shape)} axes, such as {shape}"
    if is_picture:
        return InferredKind("image", reason)
    if len(shape) == 1:
        return InferredKind("vector", reason)
    if len(shape) == 2:
        return InferredKind("series", reason)
    if len(shape) == 3 and dtype.kind == "f" and min(shape[0], shape[2]) > 1:  # else a depth map, it may be
        return InferredKind("map", reason)
    raise _unknown(f"found arrays of {dtype} of shape {shape}")


def _unknown(found: str) -> OptionError:
    return OptionError(Problem("unknown_kind", f"cannot tell the kind: {found}; {_STATE_IT}"))
