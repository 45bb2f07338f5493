from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from service.artifacts.ranges import wanted_range
from service.errors import RangeNotSatisfiableError

TAG = '"abc"'


def request(*ranges: str, method: str = "GET", if_range: str | None = None) -> Request:
    headers = [(b"range", text.encode()) for text in ranges]
    headers += [(b"if-range", if_range.encode())] if if_range is not None else []
    return Request({"type": "http", "method": method, "headers": headers})


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, 9),
        ("bytes=9-", 9, 9),
        ("bytes=2-5", 2, 5),
        ("bytes=2-500", 2, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-500", 0, 9),
        ("Bytes = 2 - 5", 2, 5),
        ("bytes=0-9999999999999999999", 0, 9),
    ],
)
def test_one_range(text: str, first: int, last: int) -> None:
    found = wanted_range(request(text), TAG, 10)
    assert found is not None
    assert (found.first, found.last, found.num_bytes) == (first, last, last - first + 1)
    assert found.content_range == f"bytes {first}-{last}/10"


@pytest.mark.parametrize(
    "text",
    [
        "bytes=9-1", "bytes=10-", "bytes=-0", "bytes=-", "bytes=", "bytes", "bytes=abc", "bytes=1-2,4-5",
        "bytes=0-0,-1", "bytes=" + ",".join(f"{n}-" for n in range(500)), "bytes=-1-2", "bytes=1--2",
        "bytes=0x0-1", "bytes=" + "9" * 5000 + "-", "bytes=1.5-2", "bytes=1-2;",
    ],
)  # fmt: skip
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(RangeNotSatisfiableError) as caught:
        wanted_range(request(text), TAG, 10)
    assert caught.value.headers == {"Content-Range": "bytes */10"}


def test_an_empty_file_has_no_ranges() -> None:
    for text in ("bytes=0-", "bytes=-1", "bytes=0-0"):
        with pytest.raises(RangeNotSatisfiableError):
            wanted_range(request(text), TAG, 0)


def test_two_headers_are_two_ranges() -> None:
    with pytest.raises(RangeNotSatisfiableError):
        wanted_range(request("bytes=0-1", "bytes=2-3"), TAG, 10)


def test_when_everything_is_sent() -> None:
    assert wanted_range(request(), TAG, 10) is None
    assert wanted_range(request("lines=0-1"), TAG, 10) is None
    assert wanted_range(request("bytes=0-1", method="HEAD"), TAG, 10) is None
    for other in ('"abd"', 'W/"abc"', "Wed, 21 Oct 2015 07:28:00 GMT", ""):
        assert wanted_range(request("bytes=0-1", if_range=other), TAG, 10) is None
    assert wanted_range(request("bytes=0-1", if_range=TAG), TAG, 10) is not None


@given(st.text(max_size=30), st.integers(0, 50))
def test_any_text_is_a_range_within_the_file_or_refused(text: str, size: int) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "headers": [(b"range", b"bytes=" + text.encode("latin-1", "replace"))],
    }
    try:
        found = wanted_range(Request(scope), TAG, size)
    except RangeNotSatisfiableError:
        return
    assert found is not None
    assert 0 <= found.first <= found.last < size
