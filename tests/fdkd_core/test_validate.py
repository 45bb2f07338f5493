"""Checking uploads: a real process each time for what the service relies on, the functions for the rest."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_samples import SPECS, make_bundle
from safetensors.numpy import load_file, save_file
from small_job import write_small_data

from fdkd_core import validate
from fdkd_core.models import build_model
from fdkd_core.models.weights import save_weights
from fdkd_core.spec.architectures import Conv1dSpec, Conv2dSpec, MLPSpec, ResNet18Spec, TextTransformerSpec


def call(*arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit code and report, in this process."""
    out = Path(str(arguments[1])).parent / "reports" / "report.json"
    out.parent.mkdir(exist_ok=True)
    code = validate.main([*map(str, arguments), "--out", str(out)])
    assert [path.name for path in out.parent.iterdir()] == ["report.json"]
    report: dict[str, Any] = json.loads(out.read_text())
    return code, report


def codes(report: dict[str, Any]) -> set[str]:
    return {problem["code"] for problem in report["problems"]}


@pytest.fixture(autouse=True)
def own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit would stay with the test runner; real processes test it below."""
    monkeypatch.setattr(validate, "limit_own_memory", lambda: None)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "student"
    make_bundle(folder, "series")
    return folder


def zipped(folder: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.iterdir()):
            file.write(path, prefix + path.name)
    return archive


def run_process(
    *arguments: object, limit: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fdkd_core.validate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=limit)


def test_a_dataset_is_reported_with_every_column(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "small.npz")
    out = tmp_path / "report.json"
    done = run_process("dataset", data, "--out", out, "--cache-dir", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    report = json.loads(out.read_text())
    assert report["splits"]["train"]["rows"] == 96
    assert report["modalities"]["clean"]["input_shape"] == [10]
    assert report["modalities"]["wave"]["source_channels"] == 2
    assert report["validation_cut_by"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "small.npz"]


def test_a_bad_dataset_leaves_its_problems_and_nothing_else(tmp_path: Path) -> None:
    arrays = dict(np.load(write_small_data(tmp_path / "small.npz")))
    arrays["wave"][4, 0, 0] = np.nan
    np.savez(tmp_path / "small.npz", **arrays)
    done = run_process("dataset", tmp_path / "small.npz", "--out", tmp_path / "report.json")
    assert (done.returncode, done.stdout) == (2, "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["code"] == "invalid_dataset"
    assert [(found["pointer"], found["row"]) for found in report["problems"]] == [("wave", 5)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "small.npz"]


def test_too_little_memory_exits_5_and_writes_nothing(tmp_path: Path) -> None:
    write_small_data(tmp_path / "small.npz")
    arrays = dict(np.load(tmp_path / "small.npz"))
    arrays["clean"] = np.random.default_rng(0).standard_normal(
        (len(arrays["id"]), 65_536), np.float32
    )  # 39 MB
    np.savez(tmp_path / "small.npz", **arrays)
    script = (
        "import fdkd_core.data.dataset; print(next(l for l in open('/proc/self/status') if 'VmPeak' in l))"
    )
    peak = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    limit = int(peak.stdout.split()[1]) * 1024 + (60 << 20)
    done = run_process(
        "dataset", tmp_path / "small.npz", "--out", tmp_path / "report.json",
        limit=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("out_of_memory")
    assert [path.name for path in tmp_path.iterdir()] == ["small.npz"]


@pytest.mark.parametrize("grouped", [False, True])
def test_a_missing_validation_split_is_cut_with_seed_0(grouped: bool, tmp_path: Path) -> None:
    arrays = dict(np.load(write_small_data(tmp_path / "small.npz")))
    arrays["split"] = np.where(arrays["split"] == "val", "train", arrays["split"])
    if grouped:
        arrays["group"] = np.array([f"speaker{number % 9}" for number in range(len(arrays["id"]))])
    np.savez(tmp_path / "small.npz", **arrays)
    code, report = call("dataset", tmp_path / "small.npz")
    assert code == 0
    assert report["validation_cut_by"] == ("group" if grouped else "row")
    assert 0 < report["splits"]["val"]["rows"] < 30
    assert any("seed 0" in line for line in report["warnings"])


def test_a_bundle_is_reported_and_unpacked(bundle: Path, tmp_path: Path) -> None:
    archive = zipped(bundle, tmp_path / "bundle.zip")
    done = run_process(
        "model", archive, "--out", tmp_path / "report.json", "--unpack", tmp_path / "place" / "b"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["format"] == "bundle"
    assert (report["modality_kind"], report["input_shape"]) == ("series", [3, 50])
    assert report["classes"] == json.loads((bundle / "labels.json").read_text())
    assert report["architecture"] == SPECS["series"].model_dump()
    assert report["source_channels"] == 3
    unpacked = tmp_path / "place" / "b"
    assert {p.name: p.read_bytes() for p in unpacked.iterdir()} == {
        p.name: p.read_bytes() for p in bundle.iterdir()
    }
    assert [path.name for path in unpacked.parent.iterdir()] == ["b"]
    code, again = call("model", bundle.parent / "student")
    assert (code, again) == (0, report)


def rezip(change: Callable[[Path], None]) -> Callable[[Path, Path], Path]:
    def make(bundle: Path, folder: Path) -> Path:
        copy = folder / "changed"
        shutil.copytree(bundle, copy)
        change(copy)
        archive = zipped(copy, folder / "bundle.zip")
        shutil.rmtree(copy)
        return archive

    return make


def with_link(bundle: Path, folder: Path) -> Path:
    archive = zipped(bundle, folder / "bundle.zip")
    link = zipfile.ZipInfo("README.md")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr(link, "/etc/passwd")
    return archive


def damaged(bundle: Path, folder: Path) -> Path:
    archive = folder / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(bundle.iterdir()):
            file.write(path, path.name)
    content = bytearray(archive.read_bytes())
    content[content.find(b'"__metadata__"') + 4] ^= 1
    archive.write_bytes(content)
    return archive


def poisoned(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][0, 0] = np.nan
    save_file(weights, folder / "model.safetensors")
    (folder / "manifest.json").unlink()


def asks_for_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.py"}}))
    (folder / "manifest.json").unlink()


def garbled_onnx(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\xff" * 99)
    (folder / "manifest.json").unlink()


def bomb(bundle: Path, folder: Path) -> Path:
    archive = folder / "bundle.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.safetensors", bytes(64 << 20))
    return archive


BAD_BUNDLES: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "a changed file": (
        rezip(lambda f: (f / "labels.json").write_text('["a","b","c"]') and None),
        "hash_mismatch",
    ),
    "a file that no bundle has": (rezip(lambda f: (f / "run.sh").write_text("x") and None), "unlisted_file"),
    "python": (rezip(lambda f: (f / "model.py").write_text("x") and None), "unsafe_format"),
    "pickled weights": (rezip(lambda f: (f / "data.pkl").write_text("x") and None), "unsafe_format"),
    "a folder around it": (lambda b, f: zipped(b, f / "bundle.zip", "student/"), "unlisted_file"),
    "a way out": (lambda b, f: zipped(b, f / "bundle.zip", "../"), "unsafe_entry"),
    "a link": (with_link, "unsafe_entry"),
    "damage": (damaged, "invalid_archive"),
    "a bomb": (bomb, "archive_limit"),
    "no labels": (rezip(lambda f: (f / "labels.json").unlink()), "not_found"),
    "NaN in the weights": (rezip(poisoned), "not_finite"),
    "a config that asks for code": (rezip(asks_for_code), "not_allowed"),
    "onnx that is none": (
        rezip(garbled_onnx),
        "invalid_onnx",
    ),
}


@pytest.mark.parametrize("case", BAD_BUNDLES)
def test_bad_bundles_are_refused_and_nothing_is_unpacked(case: str, bundle: Path, tmp_path: Path) -> None:
    make, expected = BAD_BUNDLES[case]
    archive = make(bundle, tmp_path)
    code, report = call("model", archive, "--unpack", tmp_path / "unpacked")
    assert code == 2
    assert codes(report) == {expected}, report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.zip", "reports"]


def test_torch_archives_are_told_from_bundles(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "model.pt")
    assert codes(call("model", tmp_path / "model.pt")[1]) == {"unsafe_format"}
    shutil.move(tmp_path / "model.pt", tmp_path / "bundle.zip")
    assert codes(call("model", tmp_path / "bundle.zip")[1]) == {"unsafe_format"}


WEIGHTS: list[tuple[Any, tuple[int, ...], int | None, dict[str, Any]]] = [
    (ResNet18Spec(width=2), (3, 40, 40), None, {"channels": 3, "stem": "small"}),
    (ResNet18Spec(width=2), (1, 80, 70), None, {"channels": 1, "stem": "large"}),
    (ResNet18Spec(width=2, stem="large"), (2, 40, 40), None, {"channels": 2, "stem": "large"}),
    (Conv2dSpec(width=3, depth=4), (2, 32, 16), None, {"channels": 2}),
    (Conv1dSpec(width=3, depth=5), (7, 32), None, {"channels": 7}),
    (MLPSpec(width=5, depth=1), (3, 4), None, {"inputs": 12}),
    (TextTransformerSpec(width=8), (9,), 31, {"vocab_size": 31, "max_tokens": 9}),
]


@pytest.mark.parametrize(
    ("spec", "shape", "vocab", "told"), WEIGHTS, ids=lambda value: getattr(value, "name", None)
)
def test_weights_tell_what_they_were_made_for(
    spec: Any, shape: tuple[int, ...], vocab: int | None, told: dict[str, Any], tmp_path: Path
) -> None:
    model = build_model(spec, shape, 6, vocab)
    save_weights(model, tmp_path / "w.safetensors")
    code, report = call("model", tmp_path / "w.safetensors", "--architecture", spec.model_dump_json())
    assert code == 0, report
    assert report["dimensions"] == {"num_classes": 6, **told}
    assert report["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert report["format"] == "safetensors"
    assert report["classes"] is report["modality_kind"] is report["input_shape"] is None


def change_weights(change: Callable[[dict[str, Any]], object], path: Path) -> Path:
    save_weights(build_model(MLPSpec(width=4, depth=6), (5,), 3), path)
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    return path


BAD_WEIGHTS: dict[str, tuple[Callable[[dict[str, Any]], object], set[str]]] = {
    "missing": (lambda w: w.pop("hidden.1.weight"), {"missing_tensor"}),
    "no classifier": (lambda w: [w.pop("classifier.weight"), w.pop("classifier.bias")], {"missing_tensor"}),
    "extra": (lambda w: w.update(more=np.ones(2, np.float32)), {"unexpected_tensor"}),
    "shape": (lambda w: w.update({"hidden.4.weight": np.ones((4, 5), np.float32)}), {"wrong_shape"}),
    "flat": (lambda w: w.update({"hidden.1.weight": np.ones(20, np.float32)}), {"wrong_shape"}),
    "dtype": (lambda w: w.update({"hidden.1.bias": np.ones(4, np.float64)}), {"wrong_dtype"}),
    "nan": (lambda w: w["hidden.1.weight"].fill(np.nan), {"not_finite"}),
    "infinite": (lambda w: w["classifier.bias"].fill(np.inf), {"not_finite"}),
    "zero": (lambda w: [values.fill(0) for values in w.values()], {"all_zero"}),
    "another network": (lambda w: [w.clear(), w.update(layer=np.ones(3, np.float32))], {
        "missing_tensor", "unexpected_tensor",
    }),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_weights_that_do_not_fit(case: str, tmp_path: Path) -> None:
    change, expected = BAD_WEIGHTS[case]
    path = change_weights(change, tmp_path / "w.safetensors")
    code, report = call("model", path, "--architecture", '{"name": "mlp", "width": 4, "depth": 6}')
    assert (code, report["code"]) == (2, "invalid_model")
    assert codes(report) == expected


def test_the_first_ten_tensors_are_named(tmp_path: Path) -> None:
    path = change_weights(
        lambda w: [w.update({f"extra{n}": np.ones(1, np.float32)}) for n in range(40)], tmp_path / "w"
    )
    _, report = call("model", path, "--architecture", '{"name": "mlp", "width": 4, "depth": 6}')
    assert len(report["problems"]) == 11
    assert "40 in all" in report["problems"][-1]["detail"]


@pytest.mark.parametrize(
    ("text", "code", "pointer"),
    [
        (None, "missing_field", "/architecture"),
        ("{", "invalid_json", "/architecture"),
        ("[1]", "wrong_type", "/architecture"),
        ("{}", "missing_field", "/architecture/name"),
        ('{"name": "evil.Net"}', "not_allowed", "/architecture/name"),
        ('{"name": "mlp", "auto_map": {}}', "unknown_field", "/architecture/auto_map"),
        ('{"name": "mlp", "width": 0}', "out_of_range", "/architecture/width"),
        (" " * 70_000, "exceeds_limit", "/architecture"),
    ],
)
def test_bad_architectures(text: str | None, code: str, pointer: str, tmp_path: Path) -> None:
    path = change_weights(lambda w: None, tmp_path / "w.safetensors")
    stated = [] if text is None else ["--architecture", text]
    exit_code, report = call("model", path, *stated)
    assert exit_code == 2
    assert [(found["code"], found["pointer"]) for found in report["problems"]] == [(code, pointer)]


def test_what_is_not_there(tmp_path: Path) -> None:
    assert codes(call("model", tmp_path / "none.zip")[1]) == {"not_found"}
    os.mkfifo(tmp_path / "pipe")
    assert codes(call("model", tmp_path / "pipe")[1]) == {"not_found"}


def test_a_large_member_is_copied_in_pieces(bundle: Path, tmp_path: Path) -> None:
    """Past one piece of a megabyte, packed and stored."""
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / "manifest.json").unlink()
    (copy / "README.md").write_bytes(os.urandom(5_000_000).hex().encode())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "bundle.zip", "w", method) as file:
            for path in copy.iterdir():
                file.write(path, path.name)
        code, _ = call("model", tmp_path / "bundle.zip", "--unpack", tmp_path / f"place{method}")
        assert code == 0
        assert (tmp_path / f"place{method}" / "README.md").read_bytes() == (copy / "README.md").read_bytes()
