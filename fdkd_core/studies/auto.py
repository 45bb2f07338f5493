"""Jobs with `method: {name: auto}`: find out what to train the student with, then hand it over.

teacher -> rungs of ever longer trainings -> finalists with fresh seeds -> decision -> test -> bundles
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.errors import IncompatibleError, TrainingDivergedError
from fdkd_core.finalisation import Finalisation
from fdkd_core.job_run import JobRun
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.phases import Trained
from fdkd_core.single_run import taught_rows, warn_of_chance, warn_of_gates
from fdkd_core.spec import AutoSpec, DistillSpec, NoneSpec
from fdkd_core.spec.auto_result import AutoConfiguration, AutoFinalist, AutoReport, AutoRung
from fdkd_core.spec.figures import figure, signed_figure
from fdkd_core.spec.judging import selected_by
from fdkd_core.spec.measures import Measure
from fdkd_core.spec.result import FinalRun, RunResult
from fdkd_core.spec.tasks import facts_of
from fdkd_core.spec.trainings import rung_epochs
from fdkd_core.studies import statistics
from fdkd_core.studies.auto_plan import final_name, rung_name, search_plan
from fdkd_core.studies.decision import Scores, decide, difference
from fdkd_core.studies.fold_scores import Folds
from fdkd_core.studies.halving import (
    Configuration,
    better_half,
    configurations,
    different_first,
    with_stated_first,
)
from fdkd_core.studies.minutes import Budget, Finals, Timed
from fdkd_core.studies.search_report import write_search
from fdkd_core.studies.summary import interval
from fdkd_core.studies.trainings import (
    Lesson,
    best_run,
    evaluate,
    load_final,
    row_shares,
    run_final,
    run_trial,
    selection_value,
    validation_groups,
)


@dataclass(frozen=True)
class Finalist:
    """A configuration with its final runs."""

    found: Configuration
    names: list[str]
    runs: list[FinalRun]
    """Empty when one of them diverged."""
    folds: list[FinalRun]
    """Trainings without each fold, whose test figures are of the fold; empty where there are no folds."""


class Search:
    """The trainings of one job, in the order of its plan."""

    def __init__(self, lesson: Lesson, steps_before: int) -> None:
        spec = lesson.job.spec
        assert isinstance(spec, DistillSpec)
        assert isinstance(spec.method, AutoSpec)
        self.spec, self.auto, self.lesson = spec, spec.method, lesson
        self.select_by = selected_by(spec.training, spec.task)
        self.rounds = configurations(spec.method, spec.training, spec.task)
        self.tried: dict[int, list[AutoRung]] = {}
        self._shares: dict[int, NDArray[np.float64]] = {}
        self.folds = Folds(lesson.job.data, spec.method.folds, spec.training)
        self.finals_planned = Finals(spec.method.finalists, spec.method.seeds, len(self.folds.parts))
        self.budget = self._make_budget(spec.method.minutes)
        self._times: list[Timed] = []
        self._lost_controls: list[str] = []
        self._before: dict[str, int] = {}
        for phase in search_plan(spec, lesson.job.data):
            self._before[phase["name"]] = steps_before
            steps_before += phase["total_steps"]

    def first_rung(self) -> list[Configuration]:
        """Tries configurations round by round, as many as the budget allows; returns those tried."""
        tried: list[Configuration] = []
        allowed = len(self.rounds) if self.budget is None else 1
        for number, turn in enumerate(self.rounds, start=1):
            if number > allowed:
                break
            self._rung(0, turn, first=len(tried))
            tried += turn
            if self.budget is not None:
                allowed = self.budget.rounds(number, self._times, begun=self._rounds_before())
        return tried

    def climb(self, tried: list[Configuration]) -> tuple[list[Configuration], list[float]]:
        """The further rungs; returns who stood in the last one, with their validation figures.

        Raises:
            TrainingDivergedError: All configurations of the control diverged.
        """
        values = self._values(tried)
        for rung in range(1, len(rung_epochs(self.spec.training))):
            tried = better_half(tried, values)
            self._refuse_without_control(tried)
            self._rung(rung, tried)
            values = self._values(tried)
        return tried, values

    def finals(self, tried: list[Configuration], values: list[float]) -> list[Finalist]:
        """Trains the best configuration of the control, and the best few of methods, in full.

        Raises:
            TrainingDivergedError: The control diverged: there is nothing to compare with.
        """
        controls = different_first([found for found in tried if found.is_control], tried, values)
        self._refuse_without_control(controls)
        if self.budget is not None:
            self.finals_planned = self.budget.finals(self._times)
            if self.finals_planned.folds != len(self.folds.parts):
                self.folds = self.folds.cut_to(self.finals_planned.folds)
        methods = different_first([found for found in tried if not found.is_control], tried, values)
        chosen = [controls[0], *methods[: self.finals_planned.finalists]]
        return [self._final(place, found) for place, found in enumerate(chosen)]

    def _make_budget(self, minutes: float | None) -> Budget | None:
        if minutes is None:
            return None
        return Budget(
            minutes,
            self.spec.training,
            len(self.rounds[0]),
            len(self.rounds),
            self.finals_planned,
            self.folds.fewer(),
            outcomes=self.lesson.outcomes,
            warn=self.lesson.job.warn,
        )

    def _rounds_before(self) -> int | None:
        """After how many rounds something that follows them was begun; None where nothing was."""
        outcomes = self.lesson.outcomes
        if not any(outcomes.has_begun(name) for name in (rung_name(1, 0), final_name(0, 1))):
            return None
        arms, places = len(self.rounds[0]), sum(len(turn) for turn in self.rounds)
        ended = [place for place in range(places) if outcomes.read(rung_name(0, place)) is not None]
        return len(ended) // arms

    def _rung(self, rung: int, tried: list[Configuration], *, first: int = 0) -> None:
        epochs = rung_epochs(self.spec.training)[rung]
        self._shares = self._shares if first else {}  # what diverges keeps none of the rung before
        self._times = self._times if first else []
        for place, found in enumerate(tried, start=first):
            name, began = rung_name(rung, place), time.monotonic()
            training = found.candidate.training.model_copy(update={"epochs": epochs})
            trial = run_trial(
                self.lesson, name, found.candidate, training, self._before[name], shares_of=self.select_by
            )
            self._note_time(began, trial.seconds, has_ended=trial.val is not None)
            if found.is_control and trial.val is None:
                self._lost_controls.append(name)
            if (shares := self.lesson.outcomes.read_shares(name)) is not None:
                self._shares[found.number] = shares
            rungs = self.tried.setdefault(found.number, [])
            rungs.append(AutoRung(epochs=epochs, val=trial.val, seconds=trial.seconds))

    def _final(self, place: int, found: Configuration) -> Finalist:
        seed, began = self.spec.training.seed, time.monotonic()
        names = [final_name(place, number) for number in range(1, self.finals_planned.seeds + 1)]
        runs, folds = [], []
        try:
            for number, name in enumerate(names, start=1):
                runs.append(run_final(self.lesson, name, found.candidate, seed + number, self._before[name]))
            plan = self.folds.plan(place, self.spec.training)
            before = [self._before[phase["name"]] for phase in plan]
            folds = self.folds.train(self.lesson, place, found.candidate, before)
        except (TrainingDivergedError, IncompatibleError) as error:  # a fold may lack what a basis is made of
            if found.is_control:
                raise
            self.lesson.job.warn(f"{found.label} is out of the search: {error}")
            runs, folds = [], []
        self._note_time(began, sum(run.seconds for run in (*runs, *folds)))
        return Finalist(found, names, runs, folds)

    def _note_time(self, began: float, seconds: float, *, has_ended: bool = True) -> None:
        if self.budget is not None:
            took = self.budget.spend(began, seconds)
            # As noted of one that diverged: what is decided while none has ended stays after a restart.
            self._times.append(Timed(took if has_ended else seconds, has_ended))

    def _values(self, tried: list[Configuration]) -> list[float]:
        """By which configurations of a rung are judged."""
        values = [selection_value(self.tried[found.number][-1].val, self.select_by) for found in tried]
        if self.auto.choose == "best":
            return values
        groups = validation_groups(self.lesson.job.data)
        return with_stated_first(tried, values, self._shares, groups, self.select_by)

    def _refuse_without_control(self, tried: list[Configuration]) -> None:
        if not any(found.is_control for found in tried):
            diverged = self.lesson.outcomes.read(self._lost_controls[0])
            assert diverged is not None
            fact: dict[str, Any] = diverged["diverged"]
            where = "every training without a teacher diverged; in the first, "
            raise TrainingDivergedError(fact["step"], fact["term"], float(fact["value"]), where=where)


def run_auto(job: JobRun) -> RunResult:
    """Searches, decides, and hands over the student that won.

    Raises:
        TrainingDivergedError: The control diverged whatever its learning rate, or in a final run.
        GateFailedError: See `Finalisation.finish`.
    """
    spec = job.spec
    assert isinstance(spec, DistillSpec)
    teacher, steps = job.teacher()
    rows = job.teacher_rows(teacher)
    search = Search(Lesson(job, teacher, rows), steps)
    tried = search.first_rung()
    finalists = search.finals(*search.climb(tried))
    scores = [_scores(search, finalist) for finalist in finalists]
    winner, reason = decide(
        scores, search.select_by, is_teacher_behind=_is_behind(teacher, finalists[0], search)
    )
    job.log.emit("phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
    report = _report(search, tried, finalists, scores, winner, reason)
    write_search(job.workspace.report_path, spec.name, report)

    won = finalists[winner].found.candidate
    models = {place: _best_model(search, finalists[place]) for place in {0, winner}}
    trained = {"teacher": teacher, "student": models[winner], "control": models[0]}
    taught = [] if isinstance(won.method, NoneSpec) else [taught_rows("teacher", rows, job)]
    as_chosen = spec.model_copy(update={"method": won.method, "training": won.training})
    final = Finalisation(as_chosen, job.data, job.workspace, job.device, job.identity, job.warn)
    result = final.finish(
        trained, taught, threads=job.threads, started=job.started, processes=job.processes, auto=report
    )
    warn_of_gates(job, result)
    warn_of_chance(job, result)
    return result


def _is_behind(teacher: Trained, control: Finalist, search: Search) -> bool:
    """Whether the teacher does worse on validation than the control; of one without logits nobody knows."""
    if isinstance(teacher.model, RecordedTeacher) and not teacher.model.num_logits:
        return False
    try:
        found = selection_value(evaluate(search.lesson.job, teacher, "val"), search.select_by)
    except TrainingDivergedError:  # given, and not finite somewhere: nobody knows either
        return False
    return found < float(np.mean([selection_value(run.val, search.select_by) for run in control.runs]))


def _best_model(search: Search, finalist: Finalist) -> Trained:
    best = best_run(finalist.runs, search.select_by)
    return load_final(search.lesson, finalist.names[best], finalist.found.candidate, finalist.runs[best])


def _scores(search: Search, finalist: Finalist) -> Scores:
    select_by, job = search.select_by, search.lesson.job
    if search.folds.parts:
        of_folds = [selection_value(run.test, select_by) for run in finalist.folds]
        return Scores(finalist.found.label, of_folds, [], search.folds.words)
    shares = [
        row_shares(job, load_final(search.lesson, name, finalist.found.candidate, run), select_by)
        for name, run in zip(finalist.names, finalist.runs, strict=False)
    ]
    values = [selection_value(run.val, select_by) for run in finalist.runs]
    return Scores(finalist.found.label, values, shares, groups=validation_groups(job.data))


def _report(
    search: Search,
    tried: list[Configuration],
    finalists: list[Finalist],
    scores: list[Scores],
    winner: int,
    reason: str,
) -> AutoReport:
    won, main = finalists[winner].found, facts_of(search.spec.task).main
    described = [
        _finalist(finalist, found, finalists[0], scores[0], main, search.select_by, is_control=place == 0)
        for place, (finalist, found) in enumerate(zip(finalists, scores, strict=True))
    ]
    gained = described[winner].test_difference
    if gained is not None:
        reason += (
            f" On the test split, which decided nothing, it is at {interval(gained, main)} in {main.words}."
        )
    budget = None if search.budget is None else search.budget.report()
    if budget is not None and budget.told:
        reason += f" {budget.told}"
    return AutoReport(
        select_by=search.select_by,
        configurations=[
            AutoConfiguration(
                number=found.number,
                label=found.label,
                method=found.candidate.method.model_dump(mode="json"),
                lr=found.candidate.lr,
                parameters=found.candidate.parameters,
                rungs=search.tried[found.number],
            )
            for found in tried
        ],
        finalists=described,
        winner=won.number,
        winner_label=won.label,
        reason=reason,
        cut_short=len(tried) < sum(len(turn) for turn in search.rounds),
        budget=budget,
    )


def _finalist(
    finalist: Finalist,
    found: Scores,
    control: Finalist,
    control_scores: Scores,
    main: Measure,
    select_by: str,
    *,
    is_control: bool,
) -> AutoFinalist:
    runs = finalist.runs
    gained = None if is_control or not runs else difference(found, control_scores)
    name = main.name
    gains = [
        signed_figure(run.test, name) - signed_figure(other.test, name)
        for run, other in zip(runs, control.runs, strict=False)
    ]
    return AutoFinalist(
        number=finalist.found.number,
        label=found.label,
        runs=runs,
        val=float(np.mean([selection_value(run.val, select_by) for run in runs])) if runs else None,
        val_difference=None if gained is None else gained.mean,
        val_standard_error=None if gained is None else gained.standard_error,
        folds=[selection_value(run.test, select_by) for run in finalist.folds],
        test=statistics.estimate([figure(run.test, name) for run in runs]) if runs else None,
        test_difference=statistics.estimate(gains) if gained is not None else None,
    )
