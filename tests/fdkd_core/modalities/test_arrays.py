import tracemalloc

import numpy as np
import pytest
from media_files import npy, npy_claiming

from fdkd_core.modalities.arrays import read_array, read_npy_header
from fdkd_core.modalities.base import RowError


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array([True]), np.zeros((0, 3), ">i2")])
def test_files_of_numbers(array):
    for raw in (npy(array), npy(np.asfortranarray(array))):
        found = read_array(raw)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (npy_claiming("(137438953472,)"), "invalid_array"),  # 1 TiB
        (npy_claiming("(99999999999999999999999999, 9999999999)"), "invalid_array"),
        (npy_claiming("(-8,)"), "invalid_array"),
        (npy_claiming("(-2, -4)"), "invalid_array"),
        (npy_claiming("(7,)"), "invalid_array"),
        (npy_claiming("(9,)"), "invalid_array"),
        (npy_claiming("8"), "invalid_array"),
        (npy_claiming("(8,)", "'|O'"), "unsupported_format"),
        (npy_claiming("(8,)", "'<U2'"), "unsupported_format"),
        (npy_claiming("(8,)", "'<M8[s]'"), "unsupported_format"),
        (npy_claiming("(8,)", "'|V8'"), "unsupported_format"),
        (npy_claiming("(8,)", "[('a', '<f8')]"), "unsupported_format"),
        (npy_claiming("(8,)", "__import__('os')"), "invalid_array"),
        (npy_claiming("(8,)", "(" * 3000 + ")" * 3000), "invalid_array"),
        (npy_claiming("(8,)", "'<f8'" + " " * 20_000), "invalid_array"),
        (npy(np.array([{"an": "object"}])), "unsupported_format"),
        (b"\x93NUMPY", "invalid_array"),
        (b"\x93NUMPY\x09\x00", "invalid_array"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "invalid_array"),
        (b"\x80\x04\x95", "unsupported_format"),
        (b"", "unsupported_format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "raw",
)
def test_refused_files(raw, code):
    tracemalloc.start()
    try:
        with pytest.raises(RowError) as error:
            read_array(raw)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    assert error.value.code == code
    with pytest.raises(RowError):
        read_npy_header(raw)
