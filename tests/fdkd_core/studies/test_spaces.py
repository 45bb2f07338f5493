"""What is searched of a spec is what changes its training, and nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from method_steps import NUM_ROWS, build, views

from fdkd_core.data.table import TargetScale
from fdkd_core.methods import build_method
from fdkd_core.methods.base import Method, MethodContext
from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import (
    C2KDSpec,
    CIRKDSpec,
    CombinedPart,
    CombineSpec,
    CRDSpec,
    DISTSpec,
    DKDSpec,
    FDCMKDSpec,
    LogitKDSpec,
    LSKDSpec,
    NKDSpec,
    OFAKDSpec,
    RegressionSpec,
    RetrievalSpec,
    SegmentationSpec,
    TrainingSpec,
    TuningSpec,
)
from fdkd_core.studies.search import candidates
from fdkd_core.studies.spaces import space_of
from fdkd_core.tasks.base import Task
from fdkd_core.tasks.regression import Regression
from fdkd_core.tasks.retrieval import Retrieval

HEADS = {"shared_classifier": False, "band_heads": False}
BANDS = {"low_weight": 0.0, "high_weight": 0.0}
SEARCHED: list[tuple[Any, set[str]]] = [
    (FDCMKDSpec(), {"low_weight", "high_weight", "high_weight_ratio", "cutoff"}),
    (FDCMKDSpec(split=False), {"low_weight"}),
    (FDCMKDSpec(split=False, low_weight=0.0), set()),
    (FDCMKDSpec(low_weight=0.0), {"high_weight", "high_weight_ratio", "cutoff"}),
    (FDCMKDSpec(high_weight=0.0), {"low_weight", "cutoff"}),
    (FDCMKDSpec(**BANDS), {"cutoff"}),  # of which bands do the classifiers see?
    (FDCMKDSpec(**BANDS, shared_classifier=False), {"cutoff"}),
    (FDCMKDSpec(**BANDS, shared_classifier=False, band_head_weight=0.0), set()),
    (FDCMKDSpec(**BANDS, **HEADS), set()),
    (LogitKDSpec(), {"weight", "temperature"}),
    (LogitKDSpec(weight=0.0), set()),
    (LSKDSpec(weight=0.0), set()),
    (CRDSpec(weight=0.0), set()),
    (DISTSpec(inter_weight=0.0), {"intra_weight", "temperature"}),
    (DKDSpec(target_weight=0.0), {"non_target_weight", "temperature"}),
    (NKDSpec(target_weight=0.0), {"non_target_weight", "temperature"}),
    (NKDSpec(non_target_weight=0.0), {"target_weight"}),
    (OFAKDSpec(exit_weight=0.0), {"logit_weight", "temperature"}),
    (C2KDSpec(proxy_weight=0.0, min_rank_agreement=-1.0), {"cross_weight", "teacher_weight", "temperature"}),
    (C2KDSpec(proxy_weight=0.0, cross_weight=0.0), {"teacher_weight"}),
]


def searched(method: Any, task: Any = None) -> set[str]:
    space = space_of(method, task)
    return {*space.weights, *(f"{name}_ratio" for name in space.ratios), *space.parameters}


def loss(method: Method) -> float:
    terms = method.terms(views())
    return sum(method.weights[name] * float(term.detach().sum()) for name, term in terms.items())


def named(found: Any) -> str:
    """The same in every process: no address, and no set in the order of its hashes."""
    return " ".join(sorted(found)) if isinstance(found, set) else type(found).__name__


@pytest.mark.parametrize(("method", "expected"), SEARCHED, ids=named)
def test_what_has_no_effect_is_not_searched(method: Any, expected: set[str]) -> None:
    assert searched(method) == expected
    tried = candidates(TrainingSpec(), method, TuningSpec(trials=3))
    names = {name for name in expected if not name.endswith("_ratio")}
    assert all(set(found.parameters) == names for found in tried)


@pytest.mark.parametrize(("method", "expected"), SEARCHED, ids=named)
def test_what_is_left_out_changes_no_loss_and_what_is_searched_does(method: Any, expected: set[str]) -> None:
    stated = loss(build(method))
    for name, value in (("cutoff", 0.2), ("temperature", 3.0), ("high_weight", 5.0)):
        if not hasattr(method, name) or (name == "high_weight" and method.high_weight == 0.0):
            continue
        changed = loss(build(method.model_copy(update={name: value})))
        assert (changed != pytest.approx(stated, rel=1e-6)) == (name in expected), name


TASKS: list[tuple[Any, Task]] = [
    (RegressionSpec(), Regression(RegressionSpec(), TargetScale(("a", "b"), np.zeros(2), np.ones(2)))),
    (RetrievalSpec(), Retrieval(RetrievalSpec())),
]


@pytest.mark.parametrize(("spec", "task"), TASKS, ids=named)
def test_answers_without_a_distribution_have_no_temperature(spec: Any, task: Task) -> None:
    assert searched(LogitKDSpec(), spec) == {"weight"}
    outputs = ModelOutput(torch.randn(NUM_ROWS, 16), torch.randn(NUM_ROWS, 3))
    context = MethodContext(16, 16, 3, outputs, None, NUM_ROWS, task=task)
    cold, warm = (loss(build_method(LogitKDSpec(temperature=t), context)) for t in (1.0, 8.0))
    assert cold == warm


def test_without_the_temperature_rates_and_weights_are_the_same() -> None:
    plain, of_numbers = (
        candidates(TrainingSpec(), LogitKDSpec(), TuningSpec(trials=9), task) for task in (None, TASKS[0][0])
    )
    for found, other in zip(plain, of_numbers, strict=True):
        assert other.lr == found.lr
        assert other.parameters == {"weight": found.parameters["weight"]}


def test_a_segmentation_has_no_classifiers_of_bands() -> None:
    assert searched(FDCMKDSpec(), SegmentationSpec()) == searched(FDCMKDSpec())
    assert searched(FDCMKDSpec(**BANDS), SegmentationSpec()) == set()
    assert searched(CIRKDSpec(logit_weight=0.0), SegmentationSpec()) == {"pixel_weight"}
    assert searched(CIRKDSpec(pixel_weight=0.0), SegmentationSpec()) == {"logit_weight", "temperature"}


def test_parts_without_effect_have_no_weight() -> None:
    parts = (
        CombinedPart(method=FDCMKDSpec()),
        CombinedPart(weight=0.0, method=LogitKDSpec()),
        CombinedPart(method=LogitKDSpec(weight=0.0)),
        CombinedPart(method=FDCMKDSpec(**BANDS)),  # whose classifiers it multiplies
    )
    assert searched(CombineSpec(parts=parts)) == {"parts.0.weight", "parts.3.weight"}
    assert searched(CombineSpec(parts=parts[1:3])) == set()
