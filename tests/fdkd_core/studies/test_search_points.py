"""The points of a search as they have been since the results under `benchmarks/` were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from fdkd_core.spec import FD_CMKD_WITH_LOGITS, LeafMethodSpec, NoneSpec, TrainingSpec, TuningSpec
from fdkd_core.studies.search import candidates

GOLDEN = Path(__file__).parents[2] / "golden" / "search_points.json"
DEFAULTS: dict[str, Any] = {
    "none": NoneSpec(),
    **{kind.model_fields["name"].default: kind() for kind in get_args(LeafMethodSpec)},
    "fd_cmkd with logit_kd": FD_CMKD_WITH_LOGITS,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_points_of_every_default_method_stay_as_they_are(name: str) -> None:
    """To exchange them is to give up comparing with what was measured: no `make` target rewrites the file."""
    found = [
        {"lr": candidate.lr, **candidate.parameters}
        for candidate in candidates(TrainingSpec(), DEFAULTS[name], TuningSpec(trials=9))
    ]
    assert found == json.loads(GOLDEN.read_text())[name]


def test_the_list_has_every_method() -> None:
    assert json.loads(GOLDEN.read_text()).keys() == DEFAULTS.keys()
