"""A teacher is stated as a student is, with every architecture, and read back from what was stored of it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from small_job import MINIMAL

from fdkd_core.errors import SpecError
from fdkd_core.spec import load_spec, parse_spec
from fdkd_core.spec.architectures import ArchitectureSpec
from fdkd_core.spec.loading import canonical_json

ARCHITECTURES = get_args(get_args(ArchitectureSpec)[0])


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda found: found.__name__)
def test_every_architecture_may_teach(architecture: Any) -> None:
    stated = architecture().model_dump(mode="json")
    for place in (
        {"teacher": {"modality": "image", "architecture": stated}},
        {"more_teachers": [{"modality": "image", "architecture": stated}]},
        {"student": {"modality": "audio", "architecture": stated}},
    ):
        spec = load_spec({**MINIMAL, **place})
        assert parse_spec(canonical_json(spec)) == spec


@pytest.mark.parametrize(("depths", "place"), [("x", ""), ([1, "x"], "/1"), ([True], "/0")])
def test_what_is_wrong_in_a_teacher_is_still_told(depths: Any, place: str) -> None:
    architecture = {"name": "convnext", "depths": depths}
    with pytest.raises(SpecError) as caught:
        load_spec({**MINIMAL, "teacher": {"modality": "image", "architecture": architecture}})
    assert [problem.pointer for problem in caught.value.problems] == [f"/teacher/architecture/depths{place}"]
