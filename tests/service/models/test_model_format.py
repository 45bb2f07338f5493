from __future__ import annotations

import io
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from file_requests import bundle_bytes, safetensors_bytes, tar_bytes, zip_bytes
from onnx_samples import teacher
from safetensors.torch import save

from fdkd_core.errors import InputError
from service.errors import UnsafeFormatError
from service.models.file_format import identify
from service.models.safetensors_file import MAX_HEADER_BYTES, MAX_TENSORS

GOOD = safetensors_bytes({"a.weight": 6, "a.bias": 0, "b": 1})


def write(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


class Trap:
    """What a hostile pickle does when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (str(self.marker), "w")


def torch_bytes(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def script_bytes() -> bytes:
    buffer = io.BytesIO()
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def npy_bytes(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


UNSAFE_NAMES = [
    "m.pt", "m.pth", "m.bin", "m.ckpt", "m.pt2", "m.pte", "m.mar", "m.torchscript", "m.pkl", "m.pickle",
    "m.joblib", "m.dill", "m.h5", "m.hdf5", "m.keras", "m.npy", "m.npz", "m.yaml", "m.yml", "m.py", "M.PT",
    "m.safetensors.pt",
]  # fmt: skip


def test_names_that_can_run_code(tmp_path: Path) -> None:
    for name in UNSAFE_NAMES:
        with pytest.raises(UnsafeFormatError, match="convert") as caught:
            identify(write(tmp_path, GOOD), name)
        assert "safetensors.torch.save_file" in caught.value.detail


def test_content_that_can_run_code(tmp_path: Path) -> None:
    """Whatever it is called, and without opening it."""
    marker = tmp_path / "executed"
    trap = Trap(marker)
    unsafe = {
        "torch.save": torch_bytes(trap),
        "torch.save, large": torch_bytes({f"layer{i}.weight": torch.zeros(1) for i in range(1500)}),
        "torch.save of old": torch_bytes(torch.zeros(2), _use_new_zipfile_serialization=False),
        "TorchScript": script_bytes(),
        **{f"pickle protocol {n}": pickle.dumps(trap, protocol=n) for n in range(2, 6)},
        "joblib": zlib.compress(pickle.dumps(trap)),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "npy": npy_bytes(np.zeros(3)),
        "npy of objects": npy_bytes(np.array([trap], dtype=object)),
        "npz": npz_bytes(),
        "Keras": zip_bytes({"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b""}),
        "torch.export": zip_bytes({"archive_format": b"pt2", "data/weights/model.pt": b""}),
        "a bundle with a pickle in it": zip_bytes({"model.safetensors": GOOD, "labels.pkl": b""}),
        "a bundle with code in it": zip_bytes({"model.safetensors": GOOD, "modeling.PY": b""}),
        "tar": tar_bytes(),
        "tar.gz": tar_bytes("gz"),
        "bz2": tar_bytes("bz2"),
        "xz": tar_bytes("xz"),
    }
    for content in unsafe.values():
        for name in ("model.safetensors", "bundle.zip", "model"):
            with pytest.raises(UnsafeFormatError, match="convert"):
                identify(write(tmp_path, content), name)
    assert not marker.exists()
    pickle.loads(unsafe["pickle protocol 4"]).close()
    assert marker.exists()  # the trap works


def test_formats_that_are_not_taken(tmp_path: Path) -> None:
    others = [
        (b"", "model"),
        (b"\x08", "model"),
        (b"\x7fELF" + bytes(100), "model"),
        (b"<html>", "model.zip"),
        (b"GGUF" + bytes(100), "model.gguf"),
        (pickle.dumps({"a": 1}, protocol=0), "model"),
        (zip_bytes(), "bundle.zip"),
        (zip_bytes({"folder/model.safetensors": GOOD}), "bundle.zip"),
        (zip_bytes({"model.safetensors": GOOD})[:-5], "bundle.zip"),
        (b"PK\x05\x06" + bytes(18), "bundle.zip"),
    ]
    for content, name in others:
        with pytest.raises(InputError) as caught:
            identify(write(tmp_path, content), name)
        assert [problem.code for problem in caught.value.problems] == ["unsupported_format"], name


def test_onnx_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    content = teacher().SerializeToString()
    for name in ("model.onnx", "model", "model.safetensors", "MODEL.ONNX"):
        assert identify(write(tmp_path, content), name) == "onnx"
    assert identify(write(tmp_path, GOOD), "model.onnx") == "safetensors"
    for head in (b"\x08\x0a\x12\x07pytorch", b"\x08\x0a\x28\x01", b"\x08\x07\x72\x00"):
        assert identify(write(tmp_path, head), "model") == "onnx"
    for other in (b"", b"\x08", b"<html>", b"\x08\x00\x12", b"\xff" * 99):
        with pytest.raises(InputError) as caught:
            identify(write(tmp_path, other), "model.onnx")
        assert [problem.code for problem in caught.value.problems] == ["invalid_onnx"]
        assert len(str(caught.value)) < 300
    for trap in (pickle.dumps(1, protocol=4), zip_bytes({"data.pkl": b""}), tar_bytes("gz")):
        with pytest.raises(UnsafeFormatError):
            identify(write(tmp_path, trap), "model.onnx")


def test_weights_and_bundles(tmp_path: Path) -> None:
    for content in (
        GOOD,
        safetensors_bytes(header={"__metadata__": {"format": "pt", "note": "[[{{"}}),
        save({f"layer{i}.weight": torch.zeros(2, 3) for i in range(100)}, {"format": "pt"}),
    ):
        for name in ("model.safetensors", "model", "model.zip"):
            assert identify(write(tmp_path, content), name) == "safetensors"
    for name in ("bundle.zip", "bundle", "model.safetensors"):
        assert identify(write(tmp_path, bundle_bytes()), name) == "bundle"


def tensor(begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [begin, end]}


def broken() -> dict[str, bytes]:
    return {
        "no length": b"\x10\x00",
        "length 2**63": (1 << 63).to_bytes(8, "little") + b"{}",
        "length 2**64 - 1": b"\xff" * 8 + b"{}",
        "length 0": bytes(8),
        "length over the cap": (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{" + bytes(100),
        "header cut off": (1000).to_bytes(8, "little") + b'{"a":',
        "not JSON": safetensors_bytes(header=b"{not json"),
        "an array": safetensors_bytes(header=b"[]"),
        "deep": safetensors_bytes(header=b'{"a":' + b"[" * 100_000 + b"}"),
        "many lists": safetensors_bytes(header=b'{"a":[' + b"[]," * 500_000 + b"[]]}"),
        "a huge integer": safetensors_bytes(header=b'{"a":' + b"9" * 5000 + b"}"),
        "not UTF-8": safetensors_bytes(header=b'{"\xff":1}'),
        "metadata that is no map": safetensors_bytes(header={"__metadata__": []}),
        "metadata of numbers": safetensors_bytes(header={"__metadata__": {"a": 1}}),
        "an entry that is no object": safetensors_bytes(header={"a": 7}),
        "no offsets": safetensors_bytes(header={"a": {}}),
        "three offsets": safetensors_bytes(header={"a": {"data_offsets": [0, 1, 2]}}),
        "offsets of text": safetensors_bytes(header={"a": tensor("0", "4")}, data=bytes(4)),
        "negative offset": safetensors_bytes(header={"a": tensor(-4, 0)}),
        "end before begin": safetensors_bytes(header={"a": tensor(0, -4)}),
        "overlap": safetensors_bytes(header={"a": tensor(0, 4), "b": tensor(2, 6)}, data=bytes(6)),
        "gap": safetensors_bytes(header={"a": tensor(0, 4), "b": tensor(8, 12)}, data=bytes(12)),
        "data cut off": GOOD[:-1],
        "data too long": GOOD + b"x",
        "beyond 64 bits": safetensors_bytes(header={"a": tensor(0, 2**70)}),
        "one tensor too many": safetensors_bytes({f"t{i}": 0 for i in range(MAX_TENSORS + 1)}),
        "500,000 empty tensors": safetensors_bytes(
            header=json.dumps({f"t{i}": {} for i in range(500_000)}).encode()
        ),
    }


def test_broken_safetensors(tmp_path: Path) -> None:
    for why, content in broken().items():
        with pytest.raises(InputError) as caught:
            identify(write(tmp_path, content), "model.safetensors")
        assert [problem.code for problem in caught.value.problems] == ["invalid_safetensors"], why
        assert len(str(caught.value)) < 300


def test_as_many_tensors_as_allowed(tmp_path: Path) -> None:
    content = safetensors_bytes({f"t{i}": 1 for i in range(MAX_TENSORS)})
    assert identify(write(tmp_path, content), "model.safetensors") == "safetensors"
