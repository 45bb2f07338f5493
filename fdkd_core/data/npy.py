"""Arrays in numpy's .npy format, whose header is believed only after it was checked."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from fdkd_core.data.limits import DEFAULT, Limits
from fdkd_core.errors import quote
from fdkd_core.modalities.base import RowError

START_BYTES = 16 * 1024
"""Enough of a file's beginning for any header that is allowed."""

_READERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
_NUMBERS = "biuf"
_TEXT = "U"


@dataclass(frozen=True)
class NpyHeader:
    """What a .npy file says about itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    data_offset: int
    """Where the values begin, in bytes."""

    @property
    def num_data_bytes(self) -> int:
        """Bytes the values take. A Python int: it may be far beyond what any machine has."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_npy_header(start: bytes, limits: Limits = DEFAULT) -> NpyHeader:
    """Reads the header; allocates nothing.

    Args:
        start: The first `START_BYTES` of the file, or all of a shorter one.
        limits: `max_npy_header_chars` applies.

    Raises:
        RowError: `invalid_npy` when it is not an array of booleans, integers, floats or text.
    """
    file = io.BytesIO(start)
    try:
        version = npy_format.read_magic(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers written by Python 2
            reader = _READERS.get(version)
            if reader is None:
                raise RowError("invalid_npy", f"version {version} of the .npy format is not supported")
            shape, is_fortran, dtype = reader(file, max_header_size=limits.max_npy_header_chars)
    except RowError:
        raise
    except Exception as error:  # from Python's own parser and tokenizer: there is no telling which
        raise RowError("invalid_npy", f"the .npy header cannot be read: {quote(str(error), 100)}") from error
    if dtype.hasobject:
        raise RowError(
            "invalid_npy", "it holds Python objects, which are never unpickled; save plain numbers"
        )
    if dtype.kind not in _NUMBERS + _TEXT or dtype.itemsize == 0 or dtype.subdtype is not None:
        raise RowError(
            "invalid_npy", f"its type is {quote(str(dtype))}; booleans, integers, floats and text are allowed"
        )
    if any(size < 0 for size in shape):
        raise RowError("invalid_npy", f"its shape is {quote(shape)}")
    return NpyHeader(shape, dtype, is_fortran, file.tell())


def parse_npy(content: bytes, limits: Limits = DEFAULT) -> NDArray[Any]:
    """The array in a .npy file, without copying where it is in C order.

    Args:
        content: All of the file.
        limits: `max_npy_header_chars` applies.

    Returns:
        A read-only array in native byte order. Values are as they were: they may be NaN or infinite.

    Raises:
        RowError: `invalid_npy`, also when the header claims another number of bytes than there are.
    """
    header = parse_npy_header(content[:START_BYTES], limits)
    check_size(header, len(content))
    flat = np.frombuffer(
        content, dtype=header.dtype, offset=header.data_offset, count=math.prod(header.shape)
    )
    array = flat.reshape(header.shape, order="F" if header.is_fortran else "C")
    array = np.ascontiguousarray(array, dtype=header.dtype.newbyteorder("=")).reshape(header.shape)
    array.flags.writeable = False
    return array


def check_size(header: NpyHeader, num_file_bytes: int) -> None:
    """Refuses a header that does not account for the file's size exactly.

    Raises:
        RowError: `invalid_npy`.
    """
    if header.data_offset + header.num_data_bytes != num_file_bytes:
        raise RowError(
            "invalid_npy",
            f"the header claims {header.num_data_bytes} bytes of values but there are "
            f"{num_file_bytes - header.data_offset}",
        )
