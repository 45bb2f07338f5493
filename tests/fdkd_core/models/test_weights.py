from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from fdkd_core.errors import ModelFileError
from fdkd_core.models import Backbone, build_model
from fdkd_core.models.safetensors_header import MAX_HEADER_BYTES, parse_header
from fdkd_core.models.weights import load_weights, save_weights
from fdkd_core.spec.architectures import MLPSpec


def network(width: int = 4, depth: int = 1) -> Backbone:
    return build_model(MLPSpec(width=width, depth=depth), (3,), 2)


def header_file(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def refusals(path: Path, model: Backbone | None = None) -> list[tuple[str, str]]:
    model = model or network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelFileError) as caught:
        load_weights(path, model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(len(problem.detail) < 400 for problem in caught.value.problems)
    return [(problem.code, problem.detail) for problem in caught.value.problems]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = network()
    save_weights(model, path)
    other = network()
    load_weights(path, other)
    assert all(torch.equal(other.state_dict()[name], value) for name, value in model.state_dict().items())
    save_weights(other, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


class Canary:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["model.pkl", "model.bin", "model.safetensors", "model"])
def test_a_pickle_never_runs(tmp_path: Path, protocol: int, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Canary(tmp_path / "ran"), protocol=protocol))
    (code, detail) = refusals(path)[0]
    if protocol >= 2 or path.suffix in (".pkl", ".bin"):
        assert code == "unsafe_format"
        assert "save_file" in detail
    else:
        assert code == "invalid_safetensors"
    assert not (tmp_path / "ran").exists()


def test_torch_files_are_refused_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.save({"marker": Canary(tmp_path / "ran")}, path)
    assert zipfile.is_zipfile(path)
    assert refusals(path)[0][0] == "unsafe_format"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "suffix",
    [".pt", ".pth", ".bin", ".pkl", ".joblib", ".h5", ".keras", ".pt2", ".npy", ".yaml", ".PT", ".zip"],
)
def test_good_bytes_under_an_unsafe_name_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    save_weights(network(), path)
    assert [code for code, _ in refusals(path)] == ["unsafe_format"]


@pytest.mark.parametrize(
    "start", [b"\x89HDF\r\n\x1a\n", b"\x93NUMPY\x01\x00", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"x\x9c"]
)
def test_unsafe_bytes_under_a_good_name_are_refused(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(start + bytes(100))
    assert [code for code, _ in refusals(path)] == ["unsafe_format"]


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    model = network()
    path = tmp_path / "model.safetensors"
    save_weights(model, path)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length].ljust(0x0280)
    path.write_bytes(struct.pack("<Q", 0x0280) + header + data[8 + length :])
    assert path.read_bytes()[:2] == b"\x80\x02"
    load_weights(path, model)


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (b"\x08\x00", "2 bytes"),
        (struct.pack("<Q", 1 << 63) + b"{}", "header length"),
        (struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{}", "header length"),
        (struct.pack("<Q", 500) + b"{}", "header"),
        (struct.pack("<Q", 2) + b"{]", "not JSON"),
        (struct.pack("<Q", 2) + b"[]", "not a JSON object"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "not JSON"),
        (struct.pack("<Q", 15) + b'{"a":1,"a":2}  ', "not JSON"),
        (struct.pack("<Q", 8) + b"{\xff\xfe   }", "not JSON"),
    ],
)
def test_broken_headers_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    ((code, detail),) = refusals(path)
    assert code == "invalid_safetensors"
    assert words in detail


@pytest.mark.parametrize(
    ("header", "data_bytes", "words"),
    [
        ({"../../x<script>": F32}, 4, "letters, digits"),
        ({"a" * 300: F32}, 4, "letters, digits"),
        ({"a": 1}, 0, "exactly dtype"),
        ({"a": {**F32, "more": 1}}, 4, "exactly dtype"),
        ({"a": {**F32, "dtype": "F8_E4M3"}}, 4, "dtype"),
        ({"a": {**F32, "dtype": ["F32"]}}, 4, "dtype"),
        ({"a": {**F32, "shape": [-1]}}, 4, "shape"),
        ({"a": {**F32, "shape": [True]}}, 4, "shape"),
        ({"a": {**F32, "shape": [1e3]}}, 4, "shape"),
        ({"a": {**F32, "shape": [1] * 9}}, 4, "shape"),
        ({"a": {**F32, "shape": [1 << 62, 1 << 62]}}, 4, "does not fill"),
        ({"a": {**F32, "data_offsets": [4, 0]}}, 4, "does not fill"),
        ({"a": {**F32, "data_offsets": [0]}}, 4, "data_offsets"),
        ({"a": F32, "b": F32}, 4, "starts at"),
        ({"a": F32, "b": {**F32, "data_offsets": [8, 12]}}, 12, "starts at"),
        ({"a": F32}, 5, "announces 4 bytes"),
        ({"a": F32}, 3, "announces 4 bytes"),
        ({"__metadata__": {"a": 1}}, 0, "__metadata__"),
        (
            {f"t{n}": {**F32, "shape": [0], "data_offsets": [0, 0]} for n in range(20_001)},
            0,
            "20,001 tensors",
        ),
    ],
)
def test_lying_headers_are_refused(header: Any, data_bytes: int, words: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        parse_header(json.dumps(header).encode(), data_bytes)
    (problem,) = caught.value.problems
    assert problem.code == "invalid_safetensors"
    assert words in problem.detail
    assert len(problem.detail) < 300


def test_every_way_of_not_fitting_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(network(width=5, depth=2).half(), path)
    problems = refusals(path, network(width=4, depth=1))
    codes = {code for code, _ in problems}
    assert codes == {"unexpected_tensor", "wrong_shape", "wrong_dtype"}
    assert any("hidden.1.weight has shape [5, 3], expected [4, 3]" in detail for _, detail in problems)
    missing = refusals(path, network(width=5, depth=8).half())
    assert len(missing) == 11
    assert {code for code, _ in missing} == {"missing_tensor"}
    assert "2 more of this kind (12 in all)" in missing[-1][1]


@pytest.mark.parametrize(
    ("value", "code"), [(float("nan"), "not_finite"), (float("inf"), "not_finite"), (0, "all_zero")]
)
def test_weights_that_no_training_leaves(tmp_path: Path, value: float, code: str) -> None:
    path = tmp_path / "model.safetensors"
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    save_weights(model, path)
    assert {found for found, _ in refusals(path)} == {code}


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "pipe"):
        assert refusals(path)[0][0] == "not_found"
