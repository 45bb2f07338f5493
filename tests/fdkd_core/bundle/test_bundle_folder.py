from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_samples import SPECS, fitted, make_bundle, make_card, warmed
from pydantic import ValidationError

from fdkd_core.atomic_files import sha256_file
from fdkd_core.bundle import load_bundle, write_bundle
from fdkd_core.bundle.config import BundleConfig
from fdkd_core.errors import ModelFileError, StorageError
from fdkd_core.spec.architectures import MLPSpec
from fdkd_core.spec.input_axes import MAX_STEPS


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without ONNX, which takes no time."""
    folder = tmp_path_factory.mktemp("plain") / "vector"
    make_bundle(folder, "vector", onnx=False)
    return folder


@pytest.fixture
def bundle(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "bundle"))


def codes(folder: Path, load: Callable[[Path], Any] = load_bundle) -> list[str]:
    with pytest.raises(ModelFileError) as caught:
        load(folder)
    assert len(str(caught.value)) < 8000
    return [problem.code for problem in caught.value.problems]


def edit(folder: Path, name: str, **changes: Any) -> None:
    """Changes a JSON file, and drops the manifest, as for a folder made elsewhere."""
    (folder / "manifest.json").unlink(missing_ok=True)
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | changes))


def test_the_folder_holds_what_inference_needs(plain: Path) -> None:
    names = {path.name for path in plain.iterdir()}
    assert names == {
        "README.md",
        "config.json",
        "figures.svg",
        "labels.json",
        "manifest.json",
        "model.safetensors",
        "preprocess.json",
    }
    assert json.loads((plain / "config.json").read_text()) == {
        "schema_version": 1,
        "architecture": {"name": "mlp", "width": 16, "depth": 2, "dropout": 0.3},
        "input_shape": [10],
        "input_dtype": "float32",
        "vocab_size": None,
        "num_classes": 3,
    }
    manifest = json.loads((plain / "manifest.json").read_text())
    assert manifest["files"].keys() == names - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry == {"sha256": sha256_file(plain / name), "bytes": (plain / name).stat().st_size}
    assert (plain / "config.json").stat().st_mode & 0o777 == 0o644


def test_round_trip(plain: Path) -> None:
    preprocessor, values = fitted("vector")
    inputs = torch.from_numpy(preprocessor.prepare(values))
    bundle = load_bundle(plain)
    assert bundle.recipe == preprocessor.to_json()
    assert bundle.classes == ["zero", "one", "two <b>"]
    assert bundle.architecture == SPECS["vector"]
    assert not bundle.model.training
    expected = warmed(SPECS["vector"], inputs.numpy(), 3).eval()
    assert torch.equal(bundle.model(inputs).logits, expected(inputs).logits)


def test_the_text_tokenizer_is_a_file_of_its_own(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", "text", onnx=False)
    assert "tokenizer" not in json.loads((tmp_path / "b" / "preprocess.json").read_text())
    assert load_bundle(tmp_path / "b").recipe == fitted("text")[0].to_json()
    (tmp_path / "b" / "manifest.json").unlink()
    (tmp_path / "b" / "tokenizer.json").write_bytes(b" " * ((8 << 20) + 1))
    assert codes(tmp_path / "b") == ["exceeds_limit"]
    (tmp_path / "b" / "tokenizer.json").unlink()
    assert codes(tmp_path / "b") == ["not_found"]


@pytest.mark.parametrize(
    "name", ["README.md", "config.json", "labels.json", "model.safetensors", "preprocess.json"]
)
def test_tampering_is_seen(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[-2] ^= 1
    (bundle / name).write_bytes(data)
    assert codes(bundle) == ["hash_mismatch"]
    (bundle / name).write_bytes(data + b" ")
    assert codes(bundle) == ["hash_mismatch"]
    (bundle / name).unlink()
    assert codes(bundle) == ["not_found"]


def test_what_does_not_belong_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "notes.txt").write_text("hello")
    assert codes(bundle) == ["unlisted_file"]
    (bundle / "notes.txt").unlink()

    (bundle / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert codes(bundle) == ["unsafe_format"]
    (bundle / "pytorch_model.bin").unlink()

    (bundle / "folder").mkdir()
    assert codes(bundle) == ["unsafe_entry"]
    (bundle / "folder").rmdir()

    target = shutil.move(bundle / "labels.json", tmp_path / "labels.json")
    (bundle / "labels.json").symlink_to(target)
    assert codes(bundle) == ["unsafe_entry"]
    (bundle / "labels.json").unlink()
    os.mkfifo(bundle / "labels.json")
    assert codes(bundle) == ["unsafe_entry"]
    assert codes(tmp_path / "absent") == ["not_found"]
    assert codes(tmp_path / "labels.json") == ["not_found"]


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "a/b", "notes.txt", ""])
def test_a_manifest_cannot_name_other_paths(bundle: Path, name: str) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"]["config.json"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert codes(bundle) == ["unsafe_entry"]


def test_too_many_entries_are_refused(bundle: Path) -> None:
    for number in range(101):
        (bundle / f"f{number}.txt").touch()
    assert codes(bundle) == ["exceeds_limit"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "not_allowed"),
        ({"trust_remote_code": True}, "not_allowed"),
        ({"_attn_implementation": "x/y:z"}, "not_allowed"),
        ({"base_model": "https://example.org"}, "not_allowed"),
        ({"schema_version": 2}, "not_allowed"),
        ({"architecture": {"name": "gpt"}}, "not_allowed"),
        ({"architecture": {"name": "mlp", "auto_map": {}}}, "not_allowed"),
        ({"architecture": {"name": "mlp", "width": 10**9}}, "invalid_value"),
        ({"architecture": "mlp"}, "invalid_value"),
        ({"input_shape": []}, "invalid_value"),
        ({"input_shape": [11]}, "invalid_value"),
        ({"input_shape": [10**9]}, "invalid_value"),
        ({"num_classes": 0}, "invalid_value"),
        ({"num_classes": 4}, "invalid_value"),
    ],
)
def test_configs_that_ask_for_more_are_refused(bundle: Path, changes: Any, code: str) -> None:
    edit(bundle, "config.json", **changes)
    assert set(codes(bundle)) == {code}


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("config.json", b"{}", "invalid_value"),
        ("config.json", b"[", "invalid_json"),
        ("config.json", b'{"a": NaN}', "invalid_json"),
        ("config.json", b'{"schema_version": 1, "schema_version": 1}', "invalid_json"),
        ("config.json", b"[" * 100_000, "invalid_json"),
        ("config.json", b" " * ((1 << 20) + 1), "exceeds_limit"),
        ("labels.json", b'["a", "b"]', "invalid_value"),
        ("labels.json", b'["a", "b", "b"]', "invalid_value"),
        ("labels.json", b'["a", "b", 3]', "invalid_value"),
        ("labels.json", b'{"0": "a"}', "invalid_value"),
        ("preprocess.json", b"[]", "invalid_value"),
        ("preprocess.json", b"{}", "invalid_value"),
        (
            "preprocess.json",
            b'{"kind": "evil", "input_shape": [10], "input_dtype": "float32"}',
            "not_allowed",
        ),
    ],
)
def test_broken_files_are_refused(bundle: Path, name: str, content: bytes, code: str) -> None:
    (bundle / "manifest.json").unlink()
    (bundle / name).write_bytes(content)
    assert code in codes(bundle)


def test_weights_must_fit_the_config(bundle: Path) -> None:
    edit(bundle, "config.json", architecture={"name": "mlp", "width": 17, "depth": 2})
    assert set(codes(bundle, lambda path: load_bundle(path).model)) == {"wrong_shape"}


def test_an_input_of_the_wrong_type_is_refused(bundle: Path) -> None:
    edit(bundle, "config.json", input_dtype="int64")
    edit(bundle, "preprocess.json", input_dtype="int64")
    assert codes(bundle, lambda path: load_bundle(path).model)


def arguments(**changes: Any) -> dict[str, Any]:
    preprocessor, values = fitted("vector")
    model = warmed(SPECS["vector"], preprocessor.prepare(values), 3)
    return {
        "model": model,
        "architecture": SPECS["vector"],
        "recipe": preprocessor.to_json(),
        "classes": ["zero", "one", "two"],
        "card": make_card("vector"),
        "parity_inputs": None,
    } | changes


def test_writing_again_replaces(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    write_bundle(folder, **arguments())
    (tmp_path / ".student.dead.tmp").mkdir()  # what a killed process leaves
    summary = write_bundle(folder, **arguments(classes=["a", "b", "c"]))
    assert load_bundle(folder).classes == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
    assert summary.weights.sha256 == sha256_file(folder / "model.safetensors")
    assert summary.size_bytes == sum(
        path.stat().st_size for path in folder.iterdir() if path.name != "manifest.json"
    )


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_at_any_file_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    folder = tmp_path / "student"
    if existing:
        write_bundle(folder, **arguments())
    fsync, calls = os.fsync, 0
    prepared = arguments(classes=["a", "b", "c"])
    for failing in range(1, 14):
        calls = 0

        def limited(descriptor: int, failing: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, "injected")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", limited)
        try:
            with pytest.raises(StorageError):
                write_bundle(folder, **prepared)
        finally:
            monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == (["student"] if existing else [])
        if existing:
            assert load_bundle(folder).classes == ["zero", "one", "two"]


def test_a_teacher_can_be_written(tmp_path: Path) -> None:
    write_bundle(tmp_path / "teacher", **arguments(role="teacher"))
    assert "to teach another modality's student" in (tmp_path / "teacher" / "README.md").read_text()
    assert load_bundle(tmp_path / "teacher").architecture == MLPSpec(width=16, dropout=0.3)


def test_an_axis_has_a_limit_of_its_own() -> None:
    """Whatever a recipe says; beside a recipe of another shape it would be refused for that."""
    fields: dict[str, Any] = {
        "architecture": {"name": "conv1d"}, "input_dtype": "float32", "num_classes": 2, "vocab_size": None
    }  # fmt: skip
    assert BundleConfig.model_validate({**fields, "input_shape": (1, MAX_STEPS)}).input_shape[1] == 480_000
    with pytest.raises(ValidationError, match="less than or equal to 480000"):
        BundleConfig.model_validate({**fields, "input_shape": (1, MAX_STEPS + 1)})
