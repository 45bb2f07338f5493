"""ONNX files that nothing may run, each made of a good one by a single change."""

from __future__ import annotations

import builtins
import os

import pytest
from onnx_samples import BAD_STRUCTURES, changed, drop_out, teacher

from fdkd_core.errors import ModelFileError
from fdkd_core.onnx_files import structure
from fdkd_core.onnx_files.structure import check_onnx, opset_of


def problems_of(content: bytes) -> list[tuple[str, str]]:
    with pytest.raises(ModelFileError) as caught:
        check_onnx(content)
    return [(problem.code, problem.detail) for problem in caught.value.problems]


def test_a_good_file() -> None:
    assert opset_of(check_onnx(teacher().SerializeToString())) == 20


def test_a_dropout_that_is_off() -> None:
    model = teacher()
    drop_out(model, training=False)
    check_onnx(model.SerializeToString())


@pytest.mark.parametrize("case", BAD_STRUCTURES)
def test_what_an_honest_export_never_has(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, change = BAD_STRUCTURES[case]
    content = changed(change)

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a file was opened: {arguments}")

    monkeypatch.setattr(builtins, "open", never)
    monkeypatch.setattr(os, "open", never)
    problems = problems_of(content)
    monkeypatch.undo()
    assert {found for found, _ in problems} == {code}, problems
    assert len(problems) <= 11
    assert all(len(detail) <= 300 for _, detail in problems)
    assert all("\n" not in detail and detail.isascii() for _, detail in problems)


def test_the_first_ten_are_named() -> None:
    problems = problems_of(changed(BAD_STRUCTURES["many names"][1]))
    assert len(problems) == 11
    assert "30 in all" in problems[-1][1]


@pytest.mark.parametrize(
    "content", [b"", b"\x08\x0a", b"\xff" * 99, b"\x80\x04 pickle", b"PK\x03\x04", b"\n" * 50]
)
def test_what_is_no_onnx(content: bytes) -> None:
    assert [code for code, _ in problems_of(content)] == ["invalid_onnx"]


def test_a_file_that_was_cut_off() -> None:
    whole = teacher().SerializeToString()
    for length in range(1, len(whole), 37):
        assert {code for code, _ in problems_of(whole[:length])} <= {"invalid_onnx", "unsupported_op"}


def test_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = teacher().SerializeToString()
    monkeypatch.setattr(structure, "MAX_ONNX_BYTES", len(whole) - 1)
    assert [code for code, _ in problems_of(whole)] == ["exceeds_limit"]


def test_nesting_without_end() -> None:
    """Beyond what protobuf itself reads."""
    content = b""
    for _ in range(500):
        attribute = b"\x32" + _length(content) + content  # AttributeProto.g
        node = b"\x2a" + _length(attribute) + attribute  # NodeProto.attribute
        content = b"\x0a" + _length(node) + node  # GraphProto.node
    model = b"\x08\x0a\x3a" + _length(content) + content
    assert [code for code, _ in problems_of(model)] == ["invalid_onnx"]


def _length(content: bytes) -> bytes:
    count, found = len(content), b""
    while count >= 128:
        found += bytes([count & 127 | 128])
        count >>= 7
    return found + bytes([count])
