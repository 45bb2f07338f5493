from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from fdkd_core.spec import (
    AdamWSpec,
    CombinedPart,
    CombineSpec,
    CRDSpec,
    DistillingSpec,
    DISTSpec,
    FDCMKDSpec,
    FeatureMSESpec,
    LeafMethodSpec,
    LogitKDSpec,
    MethodSpec,
    NoneSpec,
    SGDSpec,
    TrainingSpec,
    TuningSpec,
)
from fdkd_core.spec.tuning import RangeSpec
from fdkd_core.studies.bounds import Bounds, bounds_of
from fdkd_core.studies.search import candidates
from fdkd_core.studies.spaces import SPACES, Between, space_of, weight_fields

TRAINING = TrainingSpec(optimizer=SGDSpec(lr=0.1))
TUNING = TuningSpec(trials=9)
METHODS = [NoneSpec(), LogitKDSpec(), FeatureMSESpec(), FDCMKDSpec()]


@pytest.mark.parametrize("method", METHODS)
def test_the_first_trial_is_the_spec_as_stated(method: Any) -> None:
    first = candidates(TRAINING, method, TUNING)[0]
    assert (first.number, first.training, first.method) == (0, TRAINING, method)


def test_every_method_gets_the_same_trials_at_the_same_learning_rates() -> None:
    """The control too: what one arm gains over another is not the luck of its draws."""
    rates = [[c.lr for c in candidates(TRAINING, method, TUNING)] for method in METHODS]
    assert len(rates[0]) == 9
    assert len(set(rates[0])) == 9
    assert all(found == rates[0] for found in rates)


def test_a_search_is_reproducible_and_its_seed_matters() -> None:
    assert candidates(TRAINING, FDCMKDSpec(), TUNING) == candidates(TRAINING, FDCMKDSpec(), TUNING)
    other = candidates(TRAINING, FDCMKDSpec(), TuningSpec(trials=9, seed=1))
    assert other != candidates(TRAINING, FDCMKDSpec(), TUNING)


def test_more_trials_go_on_where_fewer_ended() -> None:
    assert candidates(TRAINING, FDCMKDSpec(), TuningSpec(trials=20))[:9] == candidates(
        TRAINING, FDCMKDSpec(), TUNING
    )


def test_the_points_cover_the_range_of_rates_evenly() -> None:
    """Of eight points in log lr, each quarter of the range has two."""
    found = [c.lr for c in candidates(TRAINING, NoneSpec(), TUNING)[1:]]
    assert all(0.01 <= lr <= 1.0 for lr in found)
    bounds = [0.01, 10**-1.5, 0.1, 10**-0.5, 1.0]
    counts = [sum(low <= lr < high for lr in found) for low, high in pairwise(bounds)]
    assert counts == [2, 2, 2, 2]


def test_one_factor_multiplies_the_weights_and_a_ratio_the_high_band() -> None:
    tuning = TuningSpec(trials=30, weight_factor=RangeSpec(low=0.5, high=2.0))
    for found in candidates(TRAINING, FDCMKDSpec(low_weight=4.0, high_weight=1.0), tuning):
        assert isinstance(found.method, FDCMKDSpec)
        factor = found.method.low_weight / 4.0
        assert 0.49 <= factor <= 2.01
        assert 0.099 <= found.method.high_weight / factor <= 10.1
        assert 0.25 <= found.method.cutoff <= 0.75
        assert (found.method.align_weight, found.method.band_head_weight) == (1.0, 1.0)
        assert set(found.parameters) == {"low_weight", "high_weight", "cutoff"}
        for name, value in found.parameters.items():
            assert getattr(found.method, name) == value


def test_a_stated_value_beyond_the_range_widens_it() -> None:
    found = candidates(TRAINING, LogitKDSpec(temperature=20.0), TuningSpec(trials=60))
    temperatures = [c.method.temperature for c in found if isinstance(c.method, LogitKDSpec)]
    assert temperatures[0] == 20.0
    assert max(temperatures[1:]) > 8.0


def test_stated_ranges_are_kept() -> None:
    tuning = TuningSpec(trials=20, lr=RangeSpec(low=0.02, high=0.03))
    assert all(0.02 <= c.lr <= 0.03 for c in candidates(TRAINING, NoneSpec(), tuning)[1:])


def test_rates_stay_within_what_the_field_allows() -> None:
    training = TrainingSpec(optimizer=SGDSpec(lr=80.0))
    assert all(c.lr <= 100.0 for c in candidates(training, NoneSpec(), TuningSpec(trials=50)))
    tuning = TuningSpec(trials=5, lr=RangeSpec(low=200.0, high=300.0))
    assert [c.lr for c in candidates(TRAINING, NoneSpec(), tuning)[1:]] == [100.0] * 4


def extreme_values(method: BaseModel) -> Iterator[dict[str, float]]:
    """Every number of a spec at the least and at the most that it may be, one at a time."""
    for name, value in method:
        if isinstance(value, float):
            for stated in bounds_of(method, name):
                yield {name: stated}


LEAVES: list[Any] = [kind() for kind in get_args(LeafMethodSpec)]
EXTREMES = [
    type(method).model_validate({**method.model_dump(mode="json"), **change})
    for method in LEAVES
    for change in [*extreme_values(method), dict.fromkeys(weight_fields(method), 1e6)]
]
EXTREMES += [
    FDCMKDSpec(cutoff=0.9999),  # rounds to the 1 that is not allowed
    CombineSpec(parts=(CombinedPart(weight=1e6, method=DISTSpec()), CombinedPart(method=CRDSpec()))),
]


@pytest.mark.parametrize("method", EXTREMES, ids=lambda method: repr(method)[:60])
@pytest.mark.parametrize("factors", [(0.1, 10.0), (1e6, 1e6), (1e-6, 1e-6)])
def test_whatever_is_stated_what_is_tried_is_allowed(method: Any, factors: tuple[float, float]) -> None:
    tuning = TuningSpec(trials=9, weight_factor=RangeSpec(low=factors[0], high=factors[1]))
    for found in candidates(TRAINING, method, tuning):
        assert TypeAdapter(MethodSpec).validate_json(found.method.model_dump_json()) == found.method


@pytest.mark.parametrize("optimizer", [SGDSpec(), AdamWSpec()])
def test_whatever_rate_is_stated_what_is_tried_is_allowed(optimizer: SGDSpec | AdamWSpec) -> None:
    for lr in bounds_of(optimizer, "lr"):
        stated = TRAINING.model_copy(update={"optimizer": optimizer.model_copy(update={"lr": lr})})
        for found in candidates(stated, NoneSpec(), TUNING):
            assert TrainingSpec.model_validate_json(found.training.model_dump_json()) == found.training


def test_the_bounds_are_those_of_the_field() -> None:
    assert bounds_of(DISTSpec(), "temperature") == (pytest.approx(0.0, abs=1e-300), 100.0)
    assert bounds_of(DISTSpec(), "temperature").low > 0.0
    assert bounds_of(FDCMKDSpec(), "cutoff").high == 0.999
    assert bounds_of(METHODS[1], "weight") == (0.0, 1e6)
    combined: Any = EXTREMES[-1]
    assert bounds_of(combined, "parts.0.weight") == (0.0, 1e6)
    assert bounds_of(NewSpec(), "margin") == Bounds()


def test_own_parameters_can_be_left_alone() -> None:
    for found in candidates(TRAINING, LogitKDSpec(), TuningSpec(trials=5, method_parameters=False)):
        assert isinstance(found.method, LogitKDSpec)
        assert found.method.temperature == 4.0
        assert set(found.parameters) == {"weight"}


def test_a_method_without_weight_is_searched_by_rate_alone() -> None:
    for found in candidates(TRAINING, FDCMKDSpec(low_weight=0.0, high_weight=0.0), TUNING):
        assert found.method.low_weight == found.method.high_weight == 0.0  # type: ignore[union-attr]


def test_the_parts_of_a_combination_share_a_factor() -> None:
    method = CombineSpec(
        parts=(CombinedPart(weight=2.0, method=FDCMKDSpec()), CombinedPart(method=LogitKDSpec()))
    )
    for found in candidates(TRAINING, method, TUNING):
        assert isinstance(found.method, CombineSpec)
        first, second = found.method.parts
        assert first.weight == pytest.approx(2.0 * second.weight, rel=0.01)
        assert found.parameters == {"parts.0.weight": first.weight, "parts.1.weight": second.weight}
    assert len({c.parameters["parts.1.weight"] for c in candidates(TRAINING, method, TUNING)}) == 9


class NewSpec(DistillingSpec):
    """A method that nobody has put into the table."""

    name: Literal["new"] = "new"
    row_weight: float = 2.0
    column_weight: float = 0.5
    temperature: float = 0.07
    margin: float = 1.0


def test_a_new_method_is_searched_by_its_weights_and_temperature() -> None:
    method: Any = NewSpec()
    assert weight_fields(method) == ("row_weight", "column_weight")
    assert space_of(method).weights == ("row_weight", "column_weight")
    assert space_of(method).parameters == {"temperature": Between(0.035, 0.14, log=True)}
    assert FeatureMSESpec not in SPACES
    assert space_of(FeatureMSESpec()).weights == ("weight",)
