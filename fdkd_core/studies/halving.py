"""Successive halving: what is tried, how long, and what comes to the next rung. Nothing here trains.

References:
    Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
    2016. We differ in that the control keeps places of its own up to the end, so that it is tuned as each
    method is; that every rung trains anew with a whole schedule of its own length, since a rate that is
    right at the end of a long schedule looks bad in the middle of it (docs/decisions/0015); and that a
    method as stated stands where its best does unless that is ahead beyond noise (docs/decisions/0036).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.spec import AutoSpec, NoneSpec, TaskSpec, TrainingSpec, TuningSpec
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.methods.combine import unique_names
from fdkd_core.spec.trainings import half
from fdkd_core.studies.choice import choose
from fdkd_core.studies.search import Candidate, candidates


@dataclass(frozen=True)
class Configuration:
    """One candidate of the search."""

    number: int
    """From 0, in the order in which they are tried."""
    label: str
    candidate: Candidate

    @property
    def is_control(self) -> bool:
        """Whether it has no teacher."""
        return self.label == NO_TEACHER


def configurations(
    spec: AutoSpec, training: TrainingSpec, task: TaskSpec | None = None
) -> list[list[Configuration]]:
    """What the first rung tries, in rounds: each has one configuration of the control and of every method.

    The first round is the control and the methods as they are stated.

    Args:
        spec: The search.
        training: Of the student.
        task: Of the job; None for classification.
    """
    labels = [NO_TEACHER, *unique_names(method.name for method in spec.methods)]
    rounds = max(1, spec.trials // len(labels))
    tuning = TuningSpec(
        trials=rounds,
        lr=spec.lr,
        weight_factor=spec.weight_factor,
        method_parameters=spec.method_parameters,
        seed=spec.seed,
    )
    found = [candidates(training, method, tuning, task) for method in (NoneSpec(), *spec.methods)]
    return [
        [
            Configuration(turn * len(labels) + place, label, found[place][turn])
            for place, label in enumerate(labels)
        ]
        for turn in range(rounds)
    ]


def with_stated_first(
    tried: Sequence[Configuration],
    values: Sequence[float],
    shares: Mapping[int, NDArray[np.floating[Any]]],
    groups: NDArray[np.int64] | None,
    select_by: str,
) -> list[float]:
    """The values by which a rung is judged.

    Each method as stated and its best have changed places where the best is ahead by no more than noise
    (`choice.choose`); so have the control's.

    Args:
        tried: Configurations of a rung.
        values: Validation figure of each, larger is better; -inf for one that diverged.
        shares: By the configurations' numbers, what every validation row adds to the figure, shape [rows].
            Of a method without them the values stay as they are.
        groups: Of the validation rows, shape [rows]; None where they are independent.
        select_by: Name of the figure.
    """
    judged = list(values)
    for label in dict.fromkeys(found.label for found in tried):
        places = [place for place, found in enumerate(tried) if found.label == label]
        stated, leader = places[0], max(places, key=lambda place: values[place])
        known = {
            index: shares[tried[place].number]
            for index, place in enumerate(places)
            if tried[place].number in shares
        }
        is_stated = tried[stated].candidate.number == 0
        is_comparable = is_stated and {0, places.index(leader)} <= known.keys()
        if is_comparable:
            of_method = [values[place] for place in places]
            kept = places[choose(of_method, known, groups, select_by, best=False).index]
            judged[kept], judged[leader] = values[leader], values[kept]
    return judged


def better_half(tried: Sequence[Configuration], values: Sequence[float]) -> list[Configuration]:
    """What comes to the next rung: the better half of the control's configurations and of the methods'.

    Args:
        tried: Configurations of a rung.
        values: Validation figure of each, larger is better; -inf for one that diverged, which is left behind.

    Returns:
        In the order of their numbers; a tie goes to the one tried first.
    """
    kept: list[Configuration] = []
    for is_control in (True, False):
        ranked = ranking([c for c in tried if c.is_control == is_control], tried, values)
        kept += ranked[: half(sum(c.is_control == is_control for c in tried))]
    return sorted(kept, key=lambda found: found.number)


def different_first(
    some: Sequence[Configuration], tried: Sequence[Configuration], values: Sequence[float]
) -> list[Configuration]:
    """Like `ranking`, but the best of each method stand before all others (docs/decisions/0041)."""
    ranked = ranking(some, tried, values)
    best: dict[str, Configuration] = {}
    for found in ranked:
        best.setdefault(found.label, found)
    leading = list(best.values())
    return [*leading, *(found for found in ranked if found not in leading)]


def ranking(
    some: Sequence[Configuration], tried: Sequence[Configuration], values: Sequence[float]
) -> list[Configuration]:
    """Some of the configurations of a rung from best to worst, without those that diverged."""
    value_of = {found.number: value for found, value in zip(tried, values, strict=True)}
    alive = [found for found in some if value_of[found.number] > -float("inf")]
    return sorted(alive, key=lambda found: (-value_of[found.number], found.number))
