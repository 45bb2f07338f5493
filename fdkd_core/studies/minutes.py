"""What fits into the minutes of a search: how much of it is done, by the time that its first trainings took.

What is decided from a measured time is noted in the workspace before anything is done about it: decided anew
after a restart, it might be something else, and what came out of one training would be taken for another's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from fdkd_core.count_words import count
from fdkd_core.spec import TrainingSpec
from fdkd_core.spec.auto_result import AutoBudget
from fdkd_core.spec.trainings import half, rung_epochs
from fdkd_core.studies.outcomes import Outcomes

MIN_SEEDS = 2
"""With one, nothing would be known of the noise."""
PLAN, FINALS = "plan", "plan-finals"
"""Names of the notes."""


class Timed(NamedTuple):
    """What a training took."""

    seconds: float
    has_ended: bool
    """Not so where it diverged, which tells nothing of what others will take."""


@dataclass(frozen=True)
class Finals:
    """How finalists are judged."""

    finalists: int
    """Beside the control's."""
    seeds: int
    folds: int
    """0 without cross-validation."""

    @property
    def trainings(self) -> int:
        """In full."""
        return (1 + self.finalists) * (self.seeds + self.folds)


@dataclass(frozen=True)
class Plan:
    """Of a whole search."""

    rounds: int
    """Of the first rung."""
    finals: Finals
    seconds: float
    """That it is expected to take."""
    is_enough: bool
    """Whether that is within the budget; if not, this is the least there is."""


def choices(asked: Finals, fewer_folds: Sequence[int]) -> list[Finals]:
    """What may be done of the final trainings, from what was asked for to the least.

    Finalists go first, since the second one is insurance against a lucky first. Seeds go before folds: where
    there are folds, they decide, and seeds only tell the figures.

    Args:
        asked: As the spec has it.
        fewer_folds: Other numbers of folds that the data can be cut into, falling; see `Folds.fewer`.
    """
    found = [Finals(finalists, asked.seeds, asked.folds) for finalists in range(asked.finalists, 0, -1)]
    found += [Finals(1, seeds, asked.folds) for seeds in range(asked.seeds - 1, MIN_SEEDS - 1, -1)]
    return found + [Finals(1, found[-1].seeds, folds) for folds in fewer_folds]


def plan_search(
    training: TrainingSpec,
    arms: int,
    options: Sequence[Finals],
    *,
    tried: int,
    wanted: int,
    per_epoch: float,
    budget: float,
) -> Plan:
    """As much of a search as fits: fewer rounds first, then less of the final trainings.

    Args:
        training: Of the student.
        arms: The methods and the control.
        options: For the final trainings, from most to least.
        tried: Rounds that have been done; at least 1.
        wanted: Rounds that `trials` allows.
        per_epoch: Seconds of an epoch.
        budget: In seconds, for all of it.
    """
    for finals in options:
        for rounds in range(wanted, tried - 1, -1):
            seconds = per_epoch * epochs_in_all(training, rounds, arms, finals)
            if seconds <= budget:
                return Plan(rounds, finals, seconds, is_enough=True)
    least = options[-1]
    return Plan(tried, least, per_epoch * epochs_in_all(training, tried, arms, least), is_enough=False)


def fitting_finals(
    training: TrainingSpec, options: Sequence[Finals], *, per_epoch: float, used: float, budget: float
) -> tuple[Finals, float, bool]:
    """As much of the final trainings as fits into what is left; what all will then take, and whether it fits.

    Args:
        training: Of the student.
        options: From most to least.
        per_epoch: Seconds of an epoch.
        used: Seconds that the rungs took.
        budget: In seconds, for all of it.
    """
    for finals in options:
        seconds = used + per_epoch * training.epochs * finals.trainings
        if seconds <= budget:
            return finals, seconds, True
    return finals, seconds, False


def epochs_in_all(training: TrainingSpec, rounds: int, arms: int, finals: Finals) -> int:
    """Epochs of all trainings of a search, had none of them diverged or stopped early."""
    controls, methods = rounds, rounds * (arms - 1)
    total = 0
    for epochs in rung_epochs(training):
        total += epochs * (controls + methods)
        controls, methods = half(controls), half(methods)
    return total + training.epochs * finals.trainings


class Budget:
    """The minutes of one search: what they have to last for, and what they were used for.

    Args:
        minutes: Allowed.
        training: Of the student.
        arms: The methods and the control.
        wanted: Rounds that `trials` allows.
        asked: The final trainings as the spec has them.
        fewer_folds: See `choices`.
        outcomes: Where decisions are noted.
        warn: Told when the minutes are not enough.
    """

    def __init__(
        self,
        minutes: float,
        training: TrainingSpec,
        arms: int,
        wanted: int,
        asked: Finals,
        fewer_folds: Sequence[int],
        *,
        outcomes: Outcomes,
        warn: Callable[[str], None],
    ) -> None:
        self.seconds = 60.0 * minutes
        self.used = 0.0
        self._training, self._arms, self._wanted, self._asked = training, arms, wanted, asked
        self._options = choices(asked, fewer_folds)
        self._outcomes, self._warn = outcomes, warn

    def spend(self, began: float, seconds: float) -> float:
        """Adds a training; returns what it took.

        Args:
            began: When, on the monotonic clock.
            seconds: Of its steps alone; more than has passed where a restart only read its outcome.
        """
        took = max(time.monotonic() - began, seconds)
        self.used += took
        return took

    def rounds(self, tried: int, times: Sequence[Timed], *, begun: int | None) -> int:
        """Rounds of the first rung after which all that follows still fits.

        What a training costs is told by those that came to their end. Where none has, the next round is tried
        to find out, while there is time.

        Args:
            tried: Rounds so far, at least 1.
            times: Of their trainings.
            begun: Where an earlier release went on to what follows, after how many rounds it did: it planned
                rounds alone, and its job goes on as it was planned. None where nothing of it is there.
        """
        noted = self._outcomes.read(PLAN)
        if noted is not None:
            return int(noted["rounds"])
        ended = [found.seconds for found in times if found.has_ended]
        if begun is not None:
            self._note_finals(self._asked, seconds=0.0, is_enough=True)
            plan = Plan(begun, self._asked, 0.0, is_enough=True)
        elif not ended:
            is_time_left = sum(found.seconds for found in times) <= self.seconds
            return min(self._wanted, tried + 1) if is_time_left else tried
        else:
            plan = plan_search(
                self._training,
                self._arms,
                self._options,
                tried=tried,
                wanted=self._wanted,
                per_epoch=sum(ended) / len(ended) / rung_epochs(self._training)[0],
                budget=self.seconds,
            )
        if not plan.is_enough:
            self._warn_of(plan.seconds)
        self._outcomes.write(PLAN, asdict(plan))
        return plan.rounds

    def finals(self, times: Sequence[Timed]) -> Finals:
        """The final trainings for which there is time, by what the last rung's trainings took.

        Args:
            times: Of the last rung; the control is among those that ended.
        """
        noted = self._outcomes.read(FINALS)
        if noted is not None:
            return Finals(**noted["finals"])
        ended = [found.seconds for found in times if found.has_ended]
        finals, seconds, is_enough = fitting_finals(
            self._training,
            self._options,
            per_epoch=sum(ended) / len(ended) / rung_epochs(self._training)[-1],
            used=self.used,
            budget=self.seconds,
        )
        planned = self._outcomes.read(PLAN)
        if not is_enough and (planned is None or planned["is_enough"]):
            self._warn_of(seconds)
        self._note_finals(finals, seconds=seconds, is_enough=is_enough)
        return finals

    def report(self) -> AutoBudget:
        """What came of it, after the last training."""
        plan, noted = self._outcomes.read(PLAN), self._outcomes.read(FINALS)
        assert plan is not None
        assert noted is not None
        rounds, finals, is_enough = int(plan["rounds"]), Finals(**noted["finals"]), bool(noted["is_enough"])
        least = None if is_enough else float(noted["seconds"])
        return AutoBudget(
            allowed=self.seconds,
            used=self.used,
            least=least,
            rounds=rounds,
            **asdict(finals),
            told=self._told(self._cuts(rounds, finals), least),
        )

    def _note_finals(self, finals: Finals, *, seconds: float, is_enough: bool) -> None:
        note = {"finals": asdict(finals), "seconds": seconds, "is_enough": is_enough}
        self._outcomes.write(FINALS, note)

    def _warn_of(self, least: float) -> None:
        self._warn(
            f"the {_minutes(self.seconds)} of the search are not enough: the least that it does takes about "
            f"{_minutes(least)}, which is done all the same"
        )

    def _cuts(self, rounds: int, finals: Finals) -> str:
        pairs = (
            (rounds, self._wanted, "round of configurations", "rounds of configurations"),
            (finals.finalists, self._asked.finalists, "finalist", "finalists"),
            (finals.seeds, self._asked.seeds, "seed", "seeds"),
            (finals.folds, self._asked.folds, "fold", "folds"),
        )
        return ", ".join(
            f"{count(found, one, many)} instead of {asked:,}"
            for found, asked, one, many in pairs
            if found != asked
        )

    def _told(self, cuts: str, least: float | None) -> str:
        allowed, used = _minutes(self.seconds), _minutes(self.used)
        if least is not None:
            left_out = f"it had {cuts}" if cuts else "nothing could be left out"
            return (
                f"The {allowed} allowed were not enough: the least that a search does was expected to take "
                f"{_minutes(least)}, so {left_out}; its trainings took {used}."
            )
        over = f"more than the {allowed} allowed" if self.used > self.seconds else f"of {allowed} allowed"
        if cuts:
            return f"To keep to its minutes the search had {cuts}; its trainings took {used}, {over}."
        return f"The trainings of the search took {used}, {over}." if self.used > self.seconds else ""


def _minutes(seconds: float) -> str:
    minutes = seconds / 60.0
    return f"{minutes:,.0f} minutes" if minutes >= 100.0 else f"{minutes:.3g} minutes"
