"""A teacher known by columns of its outputs: what a spec may say of it, and with which jobs it fits."""

from __future__ import annotations

from typing import Any

import pytest

from fdkd_core.errors import SpecError
from fdkd_core.spec import (
    FurtherTeacherSpec,
    MethodJobSpec,
    OutputColumnsSpec,
    TeacherSpec,
    json_schema,
    load_spec,
)
from fdkd_core.spec.compare import arms, teacher_job
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.frozen_teachers import frozen_problems
from fdkd_core.spec.loading import canonical_json, parse_spec
from fdkd_core.spec.tasks import TASK_FACTS

BOTH = {"features": "pooled", "logits": "scores"}
LOGITS, FEATURES = {"logits": "scores"}, {"features": "pooled"}
AUDIO = {"kind": "vector", "input_shape": [20], "input_dtype": "float32"}
REPORT: dict[str, Any] = {
    "classes": ["a", "b", "c"],
    "splits": {"train": {"rows": 500}, "val": {"rows": 100}, "test": {"rows": 100}},
    "modalities": {
        "audio": AUDIO,
        "pooled": {**AUDIO, "input_shape": [64]},
        "scores": {**AUDIO, "input_shape": [3]},
        "wide": {**AUDIO, "input_shape": [4]},
        "picture": {"kind": "image", "input_shape": [3, 8, 8], "input_dtype": "float32"},
    },
}


def spec(outputs_from: Any, **changes: Any) -> Any:
    document = {
        "kind": "distill", "dataset": "d", "task": {"kind": "classification"},
        "teacher": {"outputs_from": outputs_from}, "student": {"modality": "audio"},
    }  # fmt: skip
    return load_spec({**document, **changes})


@pytest.mark.parametrize(("columns", "first"), [(BOTH, "pooled"), (LOGITS, "scores"), (FEATURES, "pooled")])
def test_its_first_column_is_its_modality(columns: Any, first: str) -> None:
    found = spec(columns)
    assert found.teacher.modality == first
    assert not found.teacher.is_trained
    assert set(found.teacher.columns) == set(columns.values())
    assert parse_spec(canonical_json(found)) == found, "what is stored may be read again"
    assert TeacherSpec(outputs_from=OutputColumnsSpec(**columns)) == found.teacher  # type: ignore[call-arg]
    further = spec(columns, more_teachers=[{"outputs_from": {"logits": "scores"}, "weight": 0.5}])
    assert isinstance(further.teachers[1], FurtherTeacherSpec)
    assert further.teachers[1].columns == ("scores",)


@pytest.mark.parametrize(
    ("teacher", "code", "pointer"),
    [
        ({"outputs_from": {}}, "invalid_value", "/teacher/outputs_from"),
        ({"outputs_from": {"logits": "x", "features": "x"}}, "conflicting_fields", "/teacher/outputs_from"),
        ({"outputs_from": {"logit": "x"}}, "unknown_field", "/teacher/outputs_from/logit"),
        ({"outputs_from": {"logits": 7}}, "wrong_type", "/teacher/outputs_from/logits"),
        ({"outputs_from": BOTH, "model": "m"}, "conflicting_fields", "/teacher"),
        ({"outputs_from": BOTH, "train": {}}, "conflicting_fields", "/teacher"),
        ({"outputs_from": BOTH, "architecture": {"name": "mlp"}}, "conflicting_fields", "/teacher"),
        ({"outputs_from": BOTH, "modality": "scores"}, "conflicting_fields", "/teacher"),
        ({}, "missing_field", "/teacher/modality"),
    ],
)
def test_contradictions(teacher: Any, code: str, pointer: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(None, teacher=teacher)
    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == [(code, pointer)]


def test_the_schema_lets_the_modality_be_left_out() -> None:
    definitions = json_schema()["$defs"]
    for name in ("TeacherSpec", "FurtherTeacherSpec"):
        assert "modality" not in definitions[name].get("required", [])
    assert "modality" in definitions["StudentSpec"]["required"]


def problems(found: MethodJobSpec | Any) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.pointer) for problem in check(found, REPORT)]


def test_what_fits() -> None:
    for columns, method in ((BOTH, "fd_cmkd"), (BOTH, "dkd"), (FEATURES, "fd_cmkd"), (LOGITS, "logit_kd")):
        assert problems(spec(columns, method={"name": method})) == []
    assert problems(spec(BOTH, kind="study")) == []
    assert problems(spec(BOTH, kind="compare", fake_teachers=["shuffled_pairs", "permuted_channels"])) == []


COMBINED = {"name": "combine", "parts": [{"method": {"name": "fd_cmkd"}}, {"method": {"name": "logit_kd"}}]}
INCOMPATIBLE = "incompatible"


@pytest.mark.parametrize(
    ("columns", "changes", "expected"),
    [
        (BOTH | {"logits": "nowhere"}, {}, ("missing_column", "/teacher/outputs_from/logits")),
        (BOTH | {"features": "nowhere"}, {}, ("missing_column", "/teacher/outputs_from/features")),
        (BOTH | {"features": "picture"}, {}, (INCOMPATIBLE, "/teacher/outputs_from/features")),
        (BOTH | {"logits": "wide"}, {}, (INCOMPATIBLE, "/teacher/outputs_from/logits")),
        (FEATURES, {"method": {"name": "dkd"}}, (INCOMPATIBLE, "/method")),
        (FEATURES, {"method": COMBINED}, (INCOMPATIBLE, "/method/parts/1/method")),
        (LOGITS, {"method": COMBINED}, (INCOMPATIBLE, "/method/parts/0/method")),
        (LOGITS, {"method": {"name": "fd_cmkd"}}, (INCOMPATIBLE, "/method")),
        (BOTH, {"method": {"name": "c2kd"}}, (INCOMPATIBLE, "/method")),
        (BOTH, {"kind": "study", "teacher_view": "untrained_teacher"}, (INCOMPATIBLE, "/teacher_view")),
        (BOTH, {"kind": "compare", "fake_teachers": ["untrained_teacher"]}, (INCOMPATIBLE, "/fake_teachers")),
        (FEATURES, {"kind": "compare", "methods": [{"name": "dkd"}]}, (INCOMPATIBLE, "/methods/0")),
        (FEATURES, {"method": {"name": "auto", "methods": [{"name": "dkd"}]}},
         (INCOMPATIBLE, "/method/methods/0")),
        (BOTH, {"kind": "diagnose"}, (INCOMPATIBLE, "/teacher/outputs_from")),
        (BOTH, {"more_teachers": [{"outputs_from": FEATURES}], "teacher_weighting": "confidence"},
         (INCOMPATIBLE, "/more_teachers/0/outputs_from")),
        (BOTH, {"more_teachers": [{"outputs_from": {"logits": "nowhere"}}], "method": {"name": "dkd"}},
         ("missing_column", "/more_teachers/0/outputs_from/logits")),
    ],
)  # fmt: skip
def test_what_does_not_fit(columns: Any, changes: Any, expected: tuple[str, str]) -> None:
    assert problems(spec(columns, **changes)) == [expected]


@pytest.mark.parametrize(
    ("columns", "compared", "views", "tried"),
    [
        (BOTH, ["logit_kd", "feature_mse", "fd_cmkd"], ["shuffled_pairs", "permuted_channels"],
         ["logit_kd", "dist", "fd_cmkd", "combine"]),
        (FEATURES, ["feature_mse", "fd_cmkd"], ["shuffled_pairs", "permuted_channels"], ["fd_cmkd"]),
        (LOGITS, ["logit_kd"], ["shuffled_pairs"], ["logit_kd", "dist"]),
    ],
)  # fmt: skip
def test_what_nobody_named_is_what_the_columns_are_fit_for(
    columns: Any, compared: list[str], views: list[str], tried: list[str]
) -> None:
    comparison, search = spec(columns, kind="compare"), spec(columns, method={"name": "auto"})
    assert problems(comparison) == problems(search) == []
    assert [method.name for method in comparison.methods] == compared
    assert list(comparison.fake_teachers) == views
    assert [method.name for method in search.methods_used] == tried
    # Nobody has named them now either; and what was resolved reads as it is.
    assert not {"methods", "fake_teachers"} & comparison.model_fields_set
    assert load_spec(comparison.model_dump(mode="json")) == comparison


def test_a_comparison_trains_no_teacher_and_all_arms_look_into_the_same_columns() -> None:
    found = spec(BOTH, kind="compare")
    assert teacher_job(found) is None
    assert {arm.teacher for arm in arms(found, None).values()} == {found.teacher}


def test_a_task_may_have_no_vector_to_record(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = TASK_FACTS["multilabel"]._replace(no_recorded="it answers with pictures")
    job = spec(BOTH, task={"kind": "multilabel"}, method={"name": "logit_kd"})
    assert frozen_problems(job, [None], [None]) == []
    monkeypatch.setitem(TASK_FACTS, "multilabel", facts)
    (problem,) = frozen_problems(job, [None], [None])
    assert (problem.code, problem.pointer) == (INCOMPATIBLE, "/teacher/outputs_from")
    assert problem.detail == "recorded outputs are not read for multilabel, because it answers with pictures"


def test_a_search_tries_what_recorded_logits_can_teach_unless_methods_are_named() -> None:
    def tried(outputs_from: Any, **auto: Any) -> list[str]:
        return [found.name for found in spec(outputs_from, method={"name": "auto", **auto}).methods_used]

    assert tried({"logits": "scores"}) == ["logit_kd", "dist"]
    assert tried(BOTH) == ["logit_kd", "dist", "fd_cmkd", "combine"]
    assert tried({"logits": "scores"}, methods=[{"name": "fd_cmkd"}]) == ["fd_cmkd"]  # and is told why not
