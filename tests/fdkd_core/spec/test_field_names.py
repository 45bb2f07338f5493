"""Whoever writes a field that does not exist is told what there is."""

from __future__ import annotations

from typing import Any

import pytest
from small_job import MINIMAL

from fdkd_core.errors import SpecError
from fdkd_core.spec.loading import load_spec


def told(**changes: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec({**MINIMAL, **changes})
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"training": {"epoch": 3}}, "/training/epoch: is not a field here; did you mean `epochs`?"),
        ({"studnet": {}}, "/studnet: is not a field here; did you mean `student`?"),
        ({"gates": [{"metrik": "x"}]}, "/gates/0/metrik: is not a field here; did you mean `metric`?"),
        (  # the fields of the architecture that was chosen, not of others
            {"student": {"modality": "audio", "architecture": {"name": "mlp", "widht": 8}}},
            "/student/architecture/widht: is not a field here; did you mean `width`?",
        ),
        (
            {"method": {"name": "fd_cmkd", "cutof": 1}},
            "/method/cutof: is not a field here; did you mean `cutoff`?",
        ),
        # below where it was looked for, before anywhere else
        ({"training": {"lr": 0.1}}, "/training/lr: is not a field here; there is /training/optimizer/lr"),
        ({"epochs": 3}, "/epochs: is not a field here; there is /training/epochs and /teacher/train/epochs"),
        ({"tuning": {}}, "/tuning: is not a field here; jobs of kind compare and study have it"),
        ({"xyzzy": 1}, "/xyzzy: is not a field here"),
        ({"training": {"xyzzy": 1}}, "/training/xyzzy: is not a field here"),
    ],
)  # fmt: skip
def test_what_may_have_been_meant(changes: dict[str, Any], expected: str) -> None:
    assert told(**changes) == [f"{expected} [unknown_field]"]


def test_what_is_named_is_taken() -> None:
    """The places that are offered are places in which a field is taken."""
    load_spec({**MINIMAL, "training": {"epochs": 3, "optimizer": {"name": "sgd", "lr": 0.1}}})
    load_spec({**MINIMAL, "teacher": {"modality": "image", "train": {"epochs": 3}}})


def test_the_first_ten_are_explained() -> None:
    """A spec may have a hundred thousand of them, and looking has a price."""
    problems = told(training={f"epoch{number}": 1 for number in range(12)})
    assert [("did you mean" in problem) for problem in problems] == [True] * 10 + [False] * 2


def test_values_are_told_as_they_are_written() -> None:
    assert told(training={"epochs": None}) == [
        "/training/epochs: found null; a whole number is needed [wrong_type]"
    ]
    assert told(training={"nesterov": 1, "epochs": True})[0] == (
        "/training/epochs: found true; a whole number is needed [wrong_type]"
    )
    assert told(training=None) == ["/training: found null; a mapping of fields is needed [wrong_type]"]
    assert told(pairing="instanc") == [
        "/pairing: found 'instanc'; allowed: 'instance' or 'class' [not_allowed]"
    ]
    assert told(kind="compare", methods=[]) == ["/methods: 1 or more are needed; found 0 [out_of_range]"]
