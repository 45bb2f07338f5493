"""The trials of a search, all known before the first is run.

The points are a scrambled Halton sequence (Optuna's `QMCSampler`). With eight trials an adaptive search has
nothing to adapt to: Optuna's TPE draws its first ten at random. Halton's points cover each range evenly from
the first on; they do not depend on what was found, so that a resumed study has the same; and the learning
rate is the first dimension, in which they are the same for every method: what one arm of a comparison gains
over another is not the luck of its draws (docs/decisions/0015).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from fdkd_core.spec import MethodSpec, TaskSpec, TrainingSpec, TuningSpec
from fdkd_core.spec.tuning import RangeSpec
from fdkd_core.studies.bounds import Bounds, bounds_of, rounded
from fdkd_core.studies.spaces import Between, OneOf, Space, space_of

_LR, _WEIGHT_FACTOR = "lr", "weight_factor"
_METHOD: TypeAdapter[MethodSpec] = TypeAdapter(MethodSpec)


@dataclass(frozen=True)
class Candidate:
    """One configuration: a method and how its student is trained."""

    number: int
    """From 0, which is the spec as stated."""
    training: TrainingSpec
    method: MethodSpec
    parameters: dict[str, float | str]
    """The fields of the method that the search varies, with their values here."""

    @property
    def lr(self) -> float:
        """Learning rate."""
        return self.training.optimizer.lr


def candidates(
    training: TrainingSpec, method: MethodSpec, tuning: TuningSpec, task: TaskSpec | None = None
) -> list[Candidate]:
    """The configurations that a search tries, `tuning.trials` of them, the first as stated.

    Args:
        training: How the student is trained.
        method: Where the search begins.
        tuning: Ranges, number of trials and seed.
        task: Of the job; None for classification.
    """
    space = space_of(method, task)
    if not tuning.method_parameters:
        space = Space(weights=space.weights)
    document = method.model_dump(mode="json")
    stated = {path: value_at(document, path) for path in (*space.weights, *space.parameters)}
    allowed = {path: bounds_of(method, path) for path in stated}
    rates = bounds_of(training.optimizer, "lr")
    found = [Candidate(0, training, method, stated)]
    dimensions = _dimensions(training, space, tuning, stated, allowed)
    for point in _points(dimensions, tuning.trials - 1, tuning.seed):
        values = _values(point, space, stated, allowed)
        rate = rates.clip(point[_LR])
        found.append(Candidate(len(found), with_lr(training, rate), _changed(method, values), values))
    return found


def with_lr(training: TrainingSpec, lr: float) -> TrainingSpec:
    """The same training at another learning rate."""
    return training.model_copy(update={"optimizer": training.optimizer.model_copy(update={"lr": lr})})


def lr_range(training: TrainingSpec, tuning: TuningSpec) -> RangeSpec:
    """Learning rates that are searched."""
    lr = training.optimizer.lr
    low, high = (tuning.lr.low, tuning.lr.high) if tuning.lr else (lr / LR_SPAN, lr * LR_SPAN)
    allowed = bounds_of(training.optimizer, "lr")
    return RangeSpec(low=allowed.clip(low), high=allowed.clip(high))


LR_SPAN = 10.0
"""Without a stated range, rates from a tenth to ten times the spec's own."""


def _dimensions(
    training: TrainingSpec,
    space: Space,
    tuning: TuningSpec,
    stated: Mapping[str, Any],
    allowed: Mapping[str, Bounds],
) -> dict[str, Between | OneOf]:
    """All that is searched by name, the learning rate first."""
    lr = lr_range(training, tuning)
    found: dict[str, Between | OneOf] = {_LR: Between(lr.low, lr.high, log=True)}
    if any(stated[name] > 0.0 for name in space.weights):
        found[_WEIGHT_FACTOR] = Between(tuning.weight_factor.low, tuning.weight_factor.high, log=True)
    found |= {_ratio(name): between for name, between in space.ratios.items() if stated[name] > 0.0}
    for name, dimension in space.parameters.items():
        if isinstance(dimension, OneOf):
            found[name] = OneOf((*dimension.values, *({stated[name]} - {*dimension.values})))
        else:
            low, high = min(dimension.low, stated[name]), max(dimension.high, stated[name])
            found[name] = Between(allowed[name].clip(low), allowed[name].clip(high), log=dimension.log)
    return found


def _values(
    point: Mapping[str, Any], space: Space, stated: Mapping[str, Any], allowed: Mapping[str, Bounds]
) -> dict[str, float | str]:
    """Fields of the method at a point, within the bounds that factors, and rounding, lead beyond."""
    values: dict[str, float | str] = {name: point[name] for name in space.parameters}
    for name in space.weights:
        factor = point.get(_WEIGHT_FACTOR, 1.0) * point.get(_ratio(name), 1.0)
        values[name] = rounded(stated[name] * factor)
    return {
        name: value if isinstance(value, str) else allowed[name].clip(value) for name, value in values.items()
    }


def _points(dimensions: Mapping[str, Between | OneOf], count: int, seed: int) -> list[dict[str, Any]]:
    """The first points of the sequence over a box."""
    if count == 0:
        return []
    import optuna  # half a second, with the part of scipy that it needs

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # Of its interface, since 2022.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(qmc_type="halton", scramble=True, seed=seed)
    study = optuna.create_study(sampler=sampler)
    box: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(dimension.values)
        if isinstance(dimension, OneOf)
        else optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
        for name, dimension in dimensions.items()
    }
    corner = {name: d.values[0] if isinstance(d, OneOf) else d.low for name, d in dimensions.items()}
    # The sampler takes the box, and the order of its dimensions, from the first trial that is there.
    study.add_trial(optuna.trial.create_trial(params=corner, distributions=box, value=0.0))
    asked = [study.ask(box).params for _ in range(count)]
    return [
        {name: value if isinstance(value, str) else rounded(value) for name, value in point.items()}
        for point in asked
    ]


def _changed(method: MethodSpec, values: Mapping[str, float | str]) -> MethodSpec:
    """The method with other values, checked as any spec is."""
    document = method.model_dump(mode="json")
    for path, value in values.items():
        parent, _, name = path.rpartition(".")
        value_at(document, parent)[name] = value
    return _METHOD.validate_json(json.dumps(document))


def value_at(document: Any, path: str) -> Any:
    """A value within JSON, by names and indexes with dots between them; "" is all of it."""
    for part in path.split(".") if path else ():
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _ratio(name: str) -> str:
    return f"{name}_ratio"
