from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from small_job import MINIMAL

from fdkd_core.errors import SpecError
from fdkd_core.spec import (
    PAPER_ABLATION,
    DistillSpec,
    FDCMKDSpec,
    TrainSpec,
    canonical_json,
    json_schema,
    load_spec,
    parse_spec,
    spec_sha256,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "spec.schema.json"
FULL = """
kind: distill
name: image-teaches-audio
dataset: digits
task: {kind: classification}
teacher: {modality: image, architecture: {name: conv2d, width: 32}, train: {epochs: 10}}
student: {modality: audio, architecture: {name: conv2d, width: 16}}
method: {name: fd_cmkd, cutoff: 0.25, low_weight: 2, log_scale: 1.0, reduction: mean}
training: {epochs: 20, optimizer: {name: sgd, lr: 5e-2, momentum: 0.9}, schedule: {name: poly}, seed: 0}
controls: {no_teacher: true}
"""


def problems(document: object) -> list[tuple[str, str | None]]:
    with pytest.raises(SpecError) as caught:
        load_spec(document)
    return [(problem.code, problem.pointer) for problem in caught.value.problems]


def text_problem(text: str | bytes) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    (problem,) = caught.value.problems
    return problem.code


def changed(**changes: Any) -> dict[str, Any]:
    return {**MINIMAL, **changes}


def test_only_five_fields_are_required() -> None:
    spec = load_spec(MINIMAL)
    assert isinstance(spec, DistillSpec)
    assert isinstance(spec.method, FDCMKDSpec)
    assert spec.controls.no_teacher
    assert problems({}) == [("missing_field", "/kind")]
    assert problems({"kind": "distill"}) == [
        ("missing_field", f"/{name}") for name in ("dataset", "task", "teacher", "student")
    ]


def test_the_documented_example_is_read() -> None:
    spec = parse_spec(FULL)
    assert isinstance(spec, DistillSpec)
    assert spec.training.optimizer.lr == 0.05  # YAML 1.1 alone would read 5e-2 as text
    assert spec.teacher.train is not None
    assert spec.teacher.train.epochs == 10


def test_a_train_job_has_no_teacher() -> None:
    document = {key: value for key, value in MINIMAL.items() if key != "teacher"} | {"kind": "train"}
    assert isinstance(load_spec(document), TrainSpec)
    assert problems(changed(kind="train")) == [("unknown_field", "/teacher")]


def test_specs_are_frozen_and_round_trip() -> None:
    spec = parse_spec(FULL)
    with pytest.raises(ValidationError):
        spec.name = "other"  # type: ignore[misc]
    assert load_spec(json.loads(canonical_json(spec))) == spec
    assert spec_sha256(load_spec(json.loads(canonical_json(spec)))) == spec_sha256(spec)


def test_the_hash_follows_content_not_form() -> None:
    spelled_out = {**MINIMAL, "schema_version": 1, "controls": {"no_teacher": True}}
    assert spec_sha256(load_spec(dict(reversed(spelled_out.items())))) == spec_sha256(load_spec(MINIMAL))
    assert spec_sha256(load_spec(changed(dataset="other"))) != spec_sha256(load_spec(MINIMAL))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (changed(is_admin=True), ("unknown_field", "/is_admin")),
        (changed(training={"epoch": 3}), ("unknown_field", "/training/epoch")),
        (changed(training={"epochs": "7"}), ("wrong_type", "/training/epochs")),
        (changed(training={"epochs": True}), ("wrong_type", "/training/epochs")),
        (changed(training={"epochs": 0}), ("out_of_range", "/training/epochs")),
        (changed(training={"epochs": -1}), ("out_of_range", "/training/epochs")),
        (changed(training={"epochs": 10**12}), ("out_of_range", "/training/epochs")),
        (changed(training={"epochs": 2**63}), ("out_of_range", "/training/epochs")),
        (
            changed(training={"optimizer": {"name": "sgd", "lr": float("nan")}}),
            ("not_finite", "/training/optimizer/lr"),
        ),
        (
            changed(training={"optimizer": {"name": "sgd", "lr": float("inf")}}),
            ("not_finite", "/training/optimizer/lr"),
        ),
        (
            changed(training={"optimizer": {"name": "sgd", "lr": 0}}),
            ("out_of_range", "/training/optimizer/lr"),
        ),
        (
            changed(training={"optimizer": {"name": "torch.optim.Adam"}}),
            ("not_allowed", "/training/optimizer/name"),
        ),
        (changed(method={"name": "__import__('os')"}), ("not_allowed", "/method/name")),
        (changed(method={"cutoff": 0.5}), ("missing_field", "/method/name")),
        (changed(method={"name": "fd_cmkd", "cutoff": 1.0}), ("out_of_range", "/method/cutoff")),
        (changed(method={"name": "fd_cmkd", "cutoff": 0.0}), ("out_of_range", "/method/cutoff")),
        (changed(method={"name": "logit_kd", "temperature": 0}), ("out_of_range", "/method/temperature")),
        (changed(method={"name": "logit_kd", "temperature": -4}), ("out_of_range", "/method/temperature")),
        (changed(method={"name": "logit_kd", "weight": -0.1}), ("out_of_range", "/method/weight")),
        (changed(student={"modality": "../etc"}), ("invalid_characters", "/student/modality")),
        (changed(student={"modality": ""}), ("invalid_characters", "/student/modality")),
        (
            changed(student={"modality": "audio", "architecture": {"name": "conv2d", "width": 10**6}}),
            ("out_of_range", "/student/architecture/width"),
        ),
        (
            changed(student={"modality": "audio", "architecture": {"name": "resnet18", "layers": []}}),
            ("unknown_field", "/student/architecture/layers"),
        ),
        (
            changed(teacher={"modality": "image", "model": "a", "train": {"epochs": 1}}),
            ("conflicting_fields", "/teacher"),
        ),
        (
            changed(teacher={"modality": "image", "model": "/etc/passwd"}),
            ("invalid_characters", "/teacher/model"),
        ),
        (changed(name="a\u202eb"), ("invalid_characters", "/name")),
        (changed(name="a\u200bb"), ("invalid_characters", "/name")),
        (changed(name="a\x00b"), ("invalid_characters", "/name")),
        (changed(name="a\ud800b"), ("invalid_unicode", "/name")),
        (changed(name=""), ("out_of_range", "/name")),
        (changed(name="x" * 129), ("out_of_range", "/name")),
        (changed(kind="teleport"), ("not_allowed", "/kind")),
        (changed(schema_version=2), ("not_allowed", "/schema_version")),
        (changed(schema_version="1"), ("not_allowed", "/schema_version")),
        (changed(task={"kind": "detection"}), ("not_allowed", "/task/kind")),
        (changed(teacher=None), ("wrong_type", "/teacher")),
        (changed(teacher=[]), ("wrong_type", "/teacher")),
    ],
)
def test_what_is_wrong_is_named(document: dict[str, Any], expected: tuple[str, str]) -> None:
    assert problems(document) == [expected]


def test_every_problem_is_reported_at_once() -> None:
    document = changed(
        training={"epochs": 0, "batch_size": "many", "foo": 1}, method={"name": "fd_cmkd", "cutoff": 2}
    )
    assert sorted(problems(document)) == [
        ("out_of_range", "/method/cutoff"),
        ("out_of_range", "/training/epochs"),
        ("unknown_field", "/training/foo"),
        ("wrong_type", "/training/batch_size"),
    ]


def test_messages_say_what_was_found_and_what_is_allowed() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(changed(method={"name": "magic"}))
    message = str(caught.value)
    assert "'magic'" in message
    assert "'fd_cmkd'" in message
    with pytest.raises(SpecError) as caught:
        load_spec(changed(training={"epochs": -3}))
    assert "found -3; must be at least 1" in str(caught.value)


def test_messages_never_echo_much() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(changed(kind="k" * 100_000, **{"u" * 100_000: 1}))
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_spec"),
        ("null", "invalid_spec"),
        ("- 1", "invalid_spec"),
        ("{", "invalid_yaml"),
        ("a: 1\n}", "invalid_yaml"),
        ("a: 1\na: 2", "duplicate_key"),
        ("x: {a: 1, a: 2}", "duplicate_key"),
        ("a: &x {b: 1}\nc: *x", "not_allowed"),
        ("a: !!python/object/apply:os.system ['true']", "invalid_yaml"),
        ("a: 2020-01-01", "wrong_type"),
        ("a: !!bool maybe", "out_of_range"),
        ("a: !!timestamp z", "out_of_range"),
        ('a: !!int ""', "out_of_range"),
        ('a: !!float ""', "out_of_range"),
        ("1: a", "wrong_type"),
        ("a: .nan", "not_finite"),
        ("a: .inf", "not_finite"),
        ("a: 1e999", "not_finite"),
        ("a: " + "9" * 5000, "out_of_range"),
        ("[" * 100_000, "too_deep"),
        ("a: " * 1 + "{b: " * 65 + "1" + "}" * 65, "too_deep"),
        (b"\xff\xfek\x00", "invalid_encoding"),
        ("kind: distill".encode("utf-16"), "invalid_encoding"),
        ("a: \x00", "invalid_yaml"),
        ("a: " + "x" * (1 << 20), "too_large"),
        ('a: "\\ud800"', "invalid_unicode"),
    ],
)
def test_text_that_is_no_spec(text: str | bytes, code: str) -> None:
    assert text_problem(text) == code


def test_what_is_left_out_beside_a_mistake_is_none() -> None:
    """A default that is made from other fields is not asked for where one of those is wrong."""
    with pytest.raises(SpecError) as caught:
        load_spec({**MINIMAL, "kind": "compare", "methods": []})
    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == [
        ("out_of_range", "/methods")
    ]


def test_a_pointer_names_the_member_whatever_its_letters() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec({**MINIMAL, "größe": 1, "a~b/c": 1, "\x1b[31m": 1})
    assert {problem.pointer for problem in caught.value.problems} == {
        "/größe", "/a~0b~1c", "/'\\x1b[31m'",
    }  # fmt: skip


def test_json_is_accepted() -> None:
    assert parse_spec(json.dumps(MINIMAL)) == load_spec(MINIMAL)


def test_the_schema_is_the_golden_one() -> None:
    """A difference here is a change of the API: look at it, then run `make schema`."""
    assert json_schema() == json.loads(GOLDEN.read_text())


def test_every_field_is_documented() -> None:
    undocumented = [
        f"{name}.{field}"
        for name, definition in json_schema()["$defs"].items()
        for field, schema in definition.get("properties", {}).items()
        if "description" not in schema and not schema.get("const") and field not in SELF_EXPLAINING
    ]
    assert undocumented == []


SELF_EXPLAINING = {
    "name",
    "task",
    "method",
    "lr",
    "momentum",
    "nesterov",
    "weight_decay",
    "dropout",
    "heads",
} | {
    "optimizer",
    "schedule",
    "epochs",
    "batch_size",
    "power",
    "min_lr_frac",
    "controls",
    "teacher",
    "student",
}


def test_the_ablation_table_is_a_list_of_specs() -> None:
    assert list(PAPER_ABLATION) == [
        "feature MSE",
        "+ frequency",
        "align only",
        "frequency + align",
        "frequency + scale",
        "all, MSE",
        "all, logMSE",
    ]
    assert len({spec.model_dump_json() for spec in PAPER_ABLATION.values()}) == 7
    for spec in PAPER_ABLATION.values():
        assert load_spec(changed(method=yaml.safe_load(spec.model_dump_json()))).method == spec
