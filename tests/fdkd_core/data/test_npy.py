import io
import pickle

import numpy as np
import pytest

from fdkd_core.data.limits import Limits
from fdkd_core.data.npy import parse_npy, parse_npy_header
from fdkd_core.modalities.base import RowError


def npy(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text.encode()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3)),
        np.arange(4, dtype=">i4"),
        np.array([True, False]),
        np.array(["a", "日本"]),
        np.array(3.5),
        np.zeros((0, 3)),
        np.arange(3, dtype=np.uint8),
    ],
)
def test_reads_plain_arrays(array: np.ndarray) -> None:
    found = parse_npy(npy(array))
    assert np.array_equal(found, array)
    assert found.shape == array.shape
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.dtype.isnative
    assert not found.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.array([1 + 2j]),
        np.array(["2024-01-01"], dtype="datetime64[D]"),
        np.array([b"raw"]),
        np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        np.zeros(2, dtype="V8"),
        np.array(["", ""], dtype="U0").astype("U0"),
    ],
)
def test_refuses_other_types(array: np.ndarray) -> None:
    content = npy(array)
    if array.dtype.itemsize == 4:
        content = content.replace(b"<U1", b"<U0")
    with pytest.raises(RowError) as caught:
        parse_npy(content)
    assert caught.value.code == "invalid_npy"


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def test_never_unpickles() -> None:
    for content in (npy(np.array([Bomb()], dtype=object), allow_pickle=True), pickle.dumps(Bomb())):
        with pytest.raises(RowError) as caught:
            parse_npy(content)
        assert caught.value.code == "invalid_npy"


@pytest.mark.parametrize(
    "content",
    [
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (137438953472,), }\n") + bytes(100),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2, -1), }\n") + bytes(100),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -2), }\n") + bytes(16),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n") + bytes(15),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n") + bytes(17),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2.5,), }\n"),
        header("{'descr': 'no type', 'fortran_order': False, 'shape': (2,), }\n"),
        header("{'descr': ('<f8', (2,)), 'fortran_order': False, 'shape': (2,), }\n") + bytes(32),
        header("{'descr': '<i8', 'fortran_order': False, 'shape': (8,-, }\n"),
        header("__import__('os').system('true')\n"),
        header("{'shape': " + "(" * 3000 + ")" * 3000 + "}"),
        header("{}", (2, 0))[:-4] + b"\xff\xff\xff\xff",
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", (9, 0)),
        b"\x93NUM",
        b"",
    ],
)
def test_refuses_headers_that_lie(content: bytes) -> None:
    with pytest.raises(RowError) as caught:
        parse_npy(content)
    assert caught.value.code == "invalid_npy"


def test_refuses_long_headers() -> None:
    content = npy(np.zeros(3))
    parse_npy_header(content)
    with pytest.raises(RowError):
        parse_npy_header(content, Limits(max_npy_header_chars=50))
