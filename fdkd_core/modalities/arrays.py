"""Arrays from users: .npy bytes without pickle and without trusting the header, lists, numpy arrays."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fdkd_core.errors import quote
from fdkd_core.modalities.base import RawValue, RowError

NPY_MAGIC = b"\x93NUMPY"
_NUMBERS = "biuf"
"""dtype kinds read: booleans, integers, floats. Objects would need pickle; the rest has no meaning here."""


def read_npy_header(raw: bytes) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Shape, dtype, Fortran order and data offset of .npy bytes, without allocating what they claim.

    Raises:
        RowError: `unsupported_format` for other bytes and for objects, `invalid_array` for a broken
            header or one that does not agree with the number of bytes.
    """
    if not raw.startswith(NPY_MAGIC):
        raise RowError("unsupported_format", f"expected the bytes of a .npy file, found {quote(raw[:8])}")
    stream = io.BytesIO(raw)
    try:
        version = npy.read_magic(stream)
        # Version 3 differs only in field names of structured arrays, which are refused anyway.
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, is_fortran, dtype = read_header(stream)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError):
        raise RowError(
            "invalid_array", "the header of the .npy file is broken or not version 1 or 2"
        ) from None
    if dtype.kind not in _NUMBERS:
        raise RowError(
            "unsupported_format",
            f"arrays must hold numbers (bool, int, float), found dtype {quote(str(dtype))}",
        )
    claimed, held = math.prod(shape) * dtype.itemsize, len(raw) - stream.tell()
    if any(size < 0 for size in shape) or claimed != held:
        raise RowError(
            "invalid_array", f"the .npy header claims {claimed} bytes of data, but {held} bytes follow it"
        )
    return shape, dtype, is_fortran, stream.tell()


def read_array(raw: RawValue) -> NDArray[Any]:
    """Numbers from .npy bytes, a numpy array or (nested) lists; read-only when made from bytes.

    Raises:
        RowError: The value is not an array of numbers, or its bytes are refused.
    """
    if isinstance(raw, bytes):
        shape, dtype, is_fortran, offset = read_npy_header(raw)
        flat = np.frombuffer(raw, dtype=dtype, offset=offset)
        return flat.reshape(shape, order="F" if is_fortran else "C")
    if isinstance(raw, str):
        raise RowError("unsupported_format", f"expected an array of numbers, found the text {quote(raw, 40)}")
    try:
        array = np.asarray(raw)
    except (ValueError, TypeError, OverflowError):  # ragged lists, mixed types
        raise RowError("invalid_array", "expected a regular array of numbers, found ragged lists") from None
    if array.dtype.kind not in _NUMBERS:
        raise RowError(
            "unsupported_format",
            f"expected numbers (bool, int, float), found dtype {quote(str(array.dtype))}",
        )
    return array


def to_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """A float32 copy in C order, of which every number is finite.

    Raises:
        RowError: `invalid_values` for NaN, infinity, or numbers beyond float32 (3.4e38).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.array(array, dtype=np.float32, order="C")
    finite = np.isfinite(converted)
    if not finite.all():
        raise RowError(
            "invalid_values",
            f"{int((~finite).sum())} of {finite.size} numbers are NaN, infinite or beyond float32; "
            "all must be finite",
        )
    return converted
