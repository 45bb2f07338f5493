"""What is found from reports alone is what `run` says with the data and the weights in its hands."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_job import small_comparison, small_spec, write_small_data

from fdkd_core.bundle import load_bundle
from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import InputError
from fdkd_core.model_report import bundle_report, weights_report
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import (
    C2KDSpec,
    DISTSpec,
    DKDSpec,
    FDCMKDSpec,
    LogitKDSpec,
    LSKDSpec,
    MethodSpec,
    MLPSpec,
    NoneSpec,
    PKDSpec,
    RKDSpec,
    load_spec,
)
from fdkd_core.spec.catalogue import batch_problems, class_problems
from fdkd_core.spec.compatibility import check

TRAINING = {"epochs": 1, "batch_size": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with text and pictures too, a bundle of a teacher of `clean`, and its weights alone."""
    folder = tmp_path_factory.mktemp("compatibility")
    arrays = dict(np.load(write_small_data(folder / "small.npz")))
    rng = np.random.default_rng(1)
    words = rng.choice(["low", "high", "noise", "signal"], (len(arrays["id"]), 6))
    arrays["text"] = np.array([" ".join(row) for row in words])
    arrays["picture"] = rng.integers(0, 255, (len(arrays["id"]), 9, 12), dtype=np.uint8)
    np.savez(folder / "small.npz", **arrays)
    train = small_spec(
        teacher={"modality": "clean", "architecture": {"name": "mlp", "width": 8}}, training=TRAINING
    )
    run(train, folder / "small.npz", folder / "first", options=RunOptions(device="cpu", threads=1))
    shutil.move(folder / "first" / "teacher", folder / "bundle")
    shutil.copy(folder / "bundle" / "model.safetensors", folder / "w.safetensors")
    other = {name: values for name, values in arrays.items() if name not in ("clean", "wave")}
    np.savez(folder / "other.npz", **other, clean=arrays["clean"][:, :7], wave=arrays["wave"][:, :, :1])
    np.savez(folder / "renamed.npz", **{**arrays, "label": arrays["label"] + 1})
    keep = (arrays["label"] < 2).nonzero()[0]
    np.savez(folder / "fewer.npz", **{name: values[keep] for name, values in arrays.items()})
    return folder


BUNDLE = {"modality": "clean", "model": "bundle"}
BARE = {"modality": "clean", "model": "w.safetensors", "architecture": {"name": "mlp", "width": 8}}

CASES: dict[str, tuple[dict[str, Any], str, set[tuple[str, str]]]] = {
    "fine": ({}, "small", set()),
    "fine with a bundle": ({"teacher": BUNDLE}, "small", set()),
    "fine with weights": ({"teacher": BARE}, "small", set()),
    "no such columns": (
        {"teacher": {"modality": "eeg"}, "student": {"modality": "lidar"}},
        "small",
        {("missing_column", "/teacher/modality"), ("missing_column", "/student/modality")},
    ),
    "no such column, twice": (
        {"teacher": {"modality": "eeg"}, "student": {"modality": "eeg"}},
        "small",
        {("missing_column", "/teacher/modality"), ("missing_column", "/student/modality")},
    ),
    "networks for other inputs": (
        {
            "teacher": {"modality": "clean", "architecture": {"name": "conv2d"}},
            "student": {"modality": "text", "architecture": {"name": "conv1d"}},
        },
        "small",
        {("incompatible", "/teacher/architecture"), ("incompatible", "/student/architecture")},
    ),
    "too deep, even kernel, odd heads": (
        {
            "teacher": {
                "modality": "text",
                "architecture": {"name": "text_transformer", "width": 10, "heads": 3},
            },
            "student": {"modality": "wave", "architecture": {"name": "conv1d", "kernel": 4}},
        },
        "small",
        {("incompatible", "/teacher/architecture/heads"), ("incompatible", "/student/architecture/kernel")},
    ),
    "small pictures": (
        {
            "teacher": {"modality": "picture", "architecture": {"name": "conv2d", "depth": 4}},
            "student": {"modality": "picture", "architecture": {"name": "resnet18", "stem": "large"}},
        },
        "small",
        {("incompatible", "/teacher/architecture/depth"), ("incompatible", "/student/architecture/stem")},
    ),
    "batches larger than the training split": (
        {"teacher": {"modality": "clean", "train": {"batch_size": 97}}, "training": {"batch_size": 98}},
        "small",
        {("dataset_too_small", "/teacher/train/batch_size"), ("dataset_too_small", "/training/batch_size")},
    ),
    "one channel has no bands": (
        {"teacher": {"modality": "clean", "architecture": {"name": "mlp", "width": 1}}},
        "small",
        {("incompatible", "/method")},
    ),
    "two classes leave nothing to standardise": (
        {"method": {"name": "lskd"}},
        "fewer",
        {("incompatible", "/method")},
    ),
    "two rows have one distance": (
        {"method": {"name": "rkd"}, "training": {"batch_size": 2}},
        "small",
        {("incompatible", "/training/batch_size")},
    ),
    "nobody who is taught": (
        {"method": {"name": "none"}, "pairing": "class", "paired_fraction": 0.5},
        "small",
        {("incompatible", "/pairing"), ("incompatible", "/paired_fraction")},
    ),
    "too many parameters": (
        {"student": {"modality": "wave", "architecture": {"name": "conv1d", "width": 2048, "depth": 4}}},
        "small",
        {("exceeds_limit", "/student/architecture")},
    ),
    "teacher of other classes": ({"teacher": BUNDLE}, "renamed", {("incompatible", "/teacher/model")}),
    "teacher of more classes": ({"teacher": BUNDLE}, "fewer", {("incompatible", "/teacher/model")}),
    "teacher of another kind": (
        {"teacher": {**BUNDLE, "modality": "wave"}},
        "small",
        {("incompatible", "/teacher/model")},
    ),
    "teacher of more features": ({"teacher": BUNDLE}, "other", {("incompatible", "/teacher/model")}),
    "teacher of a column that is not there": (
        {"teacher": {**BUNDLE, "modality": "eeg"}},
        "small",
        {("missing_column", "/teacher/modality")},
    ),
    "another architecture than the bundle's": (
        {"teacher": {**BUNDLE, "architecture": {"name": "mlp", "width": 9}}},
        "small",
        {("incompatible", "/teacher/architecture")},
    ),
    "weights of more features": ({"teacher": BARE}, "other", {("incompatible", "/teacher/model")}),
    "weights of more classes": ({"teacher": BARE}, "fewer", {("incompatible", "/teacher/model")}),
    "weights for text": (
        {"teacher": {**BARE, "modality": "text"}},
        "small",
        {("incompatible", "/teacher/architecture")},
    ),
}


def reports_of(folder: Path, document: dict[str, Any], data: str) -> tuple[Any, Any, Any]:
    spec = load_spec({**small_spec(training=TRAINING).model_dump(mode="json"), **document})
    columns = ["clean", "wave", "text", "picture"]
    report = load_dataset(folder / f"{data}.npz", columns).report
    reference = document.get("teacher", {}).get("model")
    teacher = None
    if reference == "bundle":
        teacher = bundle_report(load_bundle(folder / "bundle"))
    elif reference is not None:
        teacher = weights_report(folder / "w.safetensors", MLPSpec(width=8))
    return spec, report, teacher


@pytest.mark.parametrize("case", CASES)
def test_reports_tell_what_a_run_would_say(case: str, folder: Path, tmp_path: Path) -> None:
    document, data, expected = CASES[case]
    spec, report, teacher = reports_of(folder, document, data)
    foretold = {(problem.code, problem.pointer) for problem in check(spec, report, teacher)}
    assert foretold == expected
    models = {name: folder / name for name in ("bundle", "w.safetensors")}
    options = RunOptions(device="cpu", threads=1, models=models)
    if not expected:
        run(spec, folder / f"{data}.npz", tmp_path / "out", options=options)
        return
    with pytest.raises(InputError) as caught:
        run(spec, folder / f"{data}.npz", tmp_path / "out", options=options)
    assert {(problem.code, problem.pointer) for problem in caught.value.problems} == expected
    assert not (tmp_path / "out").exists()


def test_weights_need_an_architecture_unless_they_came_with_one(folder: Path, tmp_path: Path) -> None:
    document = {"teacher": {"modality": "clean", "model": "w.safetensors"}}
    spec, report, teacher = reports_of(folder, document, "small")
    assert check(spec, report, teacher) == []
    (problem,) = check(spec, report, {**teacher, "architecture": None})
    assert (problem.code, problem.pointer) == ("missing_field", "/teacher/architecture")
    options = RunOptions(device="cpu", threads=1, models={"w.safetensors": folder / "w.safetensors"})
    with pytest.raises(InputError) as caught:  # a file of one's own says nothing of it
        run(spec, folder / "small.npz", tmp_path / "out", options=options)
    assert [(found.code, found.pointer) for found in caught.value.problems] == [
        ("missing_field", "/teacher/architecture")
    ]


def test_memory(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, report, _ = reports_of(folder, {}, "small")
    (teacher, student) = check(spec, report, memory_bytes=10_000)
    assert (teacher.code, teacher.pointer) == ("exceeds_limit", "/teacher/architecture")
    assert (student.code, student.pointer) == ("exceeds_limit", "/student/architecture")
    assert "lower width" in teacher.detail
    assert check(spec, report, memory_bytes=1 << 30) == []
    monkeypatch.setattr("fdkd_core.preparation.device_memory_bytes", lambda device: 10_000)
    with pytest.raises(InputError) as caught:
        run(spec, folder / "small.npz", tmp_path / "out", options=RunOptions(device="cpu", threads=1))
    assert caught.value.problems == (teacher, student)


def test_a_teacher_that_only_learns_needs_no_second_network(folder: Path) -> None:
    spec, report, teacher = reports_of(folder, {"teacher": BUNDLE}, "small")
    tight = {**report, "splits": {**report["splits"], "train": {"rows": 16}}}
    assert check(spec, tight, teacher) == []
    with pytest.raises(ValueError, match="report"):
        check(spec, report)


def test_a_method_twice_in_a_list_is_refused(folder: Path) -> None:
    """Its second arm would train the same students with the same seeds; with other fields it is another."""
    methods = [{"name": "logit_kd"}, {"name": "fd_cmkd"}, {"name": "logit_kd", "temperature": 2.0}]
    _, report, _ = reports_of(folder, {}, "small")
    for place, whole in (("/methods", compare_spec), ("/method/methods", auto_spec)):
        assert check(whole(methods), report) == []
        (problem,) = check(whole([*methods, methods[0]]), report)
        assert (problem.code, problem.pointer) == ("not_allowed", f"{place}/3")
        assert f"{place}/0" in problem.detail


def test_a_list_of_the_control_alone_is_refused(folder: Path) -> None:
    _, report, _ = reports_of(folder, {}, "small")
    (problem,) = check(compare_spec([{"name": "none"}]), report)
    assert (problem.code, problem.pointer) == ("not_allowed", "/methods")
    assert check(compare_spec([{"name": "none"}, {"name": "logit_kd"}]), report) == []


def compare_spec(methods: list[dict[str, Any]]) -> Any:
    return small_comparison(methods=methods, fake_teachers=[])


def auto_spec(methods: list[dict[str, Any]]) -> Any:
    return small_spec(method={"name": "auto", "methods": methods})


def test_student_and_given_teacher_may_share_a_column(folder: Path, tmp_path: Path) -> None:
    """The column then goes through the teacher's preprocessing, whose shape the student has to take."""
    document = {
        "teacher": BUNDLE,
        "student": {"modality": "clean", "architecture": {"name": "mlp", "width": 4}},
    }
    spec, report, teacher = reports_of(folder, document, "small")
    assert check(spec, report, teacher) == []
    options = RunOptions(device="cpu", threads=1, models={"bundle": folder / "bundle"})
    assert run(spec, folder / "small.npz", tmp_path / "out", options=options).student.modality == "clean"


def test_a_cut_by_groups_leaves_a_number_of_rows_that_depends_on_the_seed(folder: Path) -> None:
    spec, report, _ = reports_of(
        folder, {"training": {"batch_size": 99}, "teacher": {"modality": "clean"}}, "small"
    )
    assert [problem.code for problem in check(spec, report)] == ["dataset_too_small"]
    assert check(spec, {**report, "validation_cut_by": "group"}) == []


@pytest.mark.parametrize(
    ("method", "classes", "rows"),
    [
        (NoneSpec(), 2, 1),
        (LogitKDSpec(), 2, 1),
        (FDCMKDSpec(), 2, 1),
        (DKDSpec(), 2, 1),
        (DISTSpec(), 2, 2),
        (PKDSpec(), 2, 2),
        (RKDSpec(), 2, 3),
        (LSKDSpec(), 3, 1),
        (C2KDSpec(), 3, 1),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_fewest_classes_and_rows_of_a_method(method: MethodSpec, classes: int, rows: int) -> None:
    assert class_problems(method, classes) == []
    assert batch_problems(method, rows) == []
    if classes > 2:
        (problem,) = class_problems(method, classes - 1, "/methods/4")
        assert (problem.code, problem.pointer) == ("incompatible", "/methods/4")
        assert f"{method.name} needs at least {classes} classes, found {classes - 1}" in problem.detail
    if rows > 1:
        (problem,) = batch_problems(method, rows - 1)
        assert (problem.code, problem.pointer) == ("incompatible", "/training/batch_size")
        assert f"{method.name} needs batches of at least {rows} rows" in problem.detail
