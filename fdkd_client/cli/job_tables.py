"""A job as a person reads it: where it is, how good the student became, what went wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.pretty import Pretty
from rich.table import Table
from rich.text import Text

from fdkd_client.cli.comparison_tables import (
    comparison_view,
    estimate_text,
    figure_text,
    measure_of,
    study_view,
)
from fdkd_client.cli.diagnosis_view import diagnosis_view
from fdkd_client.cli.job_words import what
from fdkd_client.cli.run_view import is_control, run_view
from fdkd_client.cli.terminal import new_table, one_line, plain, short_name
from fdkd_client.cli.wording import CHILDREN, CONCLUDING, age, phase_words, styled_state
from fdkd_client.figures import (
    ComparisonFigures,
    DiagnosisFigures,
    Figures,
    RunFigures,
    StudyFigures,
)
from fdkd_client.results import Artifact, Failure, Job, ProblemInfo, Progress
from fdkd_core.count_words import count, duration, size
from fdkd_core.spec.result import CANCELLED
from fdkd_core.spec.tasks import facts_of_figures

_HINTS = {
    "diverged": "Lower training.optimizer.lr, or the weights of the method.",
    "out_of_memory": "Lower training.batch_size or the width of the networks, or use a larger machine.",
    "gate_failed": "The student is not handed over. To get it all the same, set on_fail: warn in the gate.",
    "storage_full": "Free space in the server's data folder, then retry.",
    "crashed": "The logs may say why: fdkd jobs logs {id}",
    "stalled": "No step came for too long. The logs may say why: fdkd jobs logs {id}",
}


def jobs_table(jobs: Iterable[Job]) -> Table:
    """One line per job."""
    table = new_table("id", "name", "state", "progress", "created", wide=("name", "progress"))
    for job in jobs:
        name, progress = short_name(job.name), one_line(_short(job))
        table.add_row(job.id, name, styled_state(job.state), progress, age(job.created_at))
    return table


def children_table(children: Iterable[Job]) -> Table:
    """One line per job of a comparison."""
    table = new_table("job", "id", "state", "progress", "time", right=("time",), wide=("job",))
    table.columns[0].overflow = "fold"
    for child in children:
        state = styled_state(child.state)
        progress = "waits for the teacher" if child.is_blocked else _short(child)
        table.add_row(plain(child.name), child.id, state, progress, _time(child))
    return table


def artifacts_table(artifacts: Iterable[Artifact]) -> Table:
    """One line per file."""
    table = new_table("name", "size", "sha256", right=("size",), wide=("name",))
    for artifact in artifacts:
        table.add_row(plain(artifact.name), size(artifact.size_bytes), plain(artifact.sha256[:12]))
    return table


def job_view(job: Job, children: Sequence[Job] = ()) -> Group:
    """Everything about one job, and about those that it is made of."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("job", f"[bold]{plain(job.name)}[/]  {job.id}")
    facts.add_row("state", _state_line(job))
    if job.progress and not job.is_terminal:
        facts.add_row("progress", _whereabouts(job, job.progress))
    facts.add_row("does", what(job))
    if job.retry_of:
        facts.add_row("retry of", plain(job.retry_of))
    if job.parent_id:
        facts.add_row("part of", plain(job.parent_id))
    if job.given_models:
        given = [f"{plain(model_id)} ({plain(role)})" for role, model_id in job.given_models.items()]
        facts.add_row("given", "\n".join(given))
    for name, value in job.metadata.items():
        facts.add_row(plain(name), plain(value))
    if job.models and job.models.student:
        facts.add_row("models", "\n".join(_made(job)))
    parts: list[RenderableType] = [facts]
    if children:
        parts += ["", children_table(children)]
    if job.error:
        error = job.error
        if job.children is not None and error.phase:
            error = error.model_copy(update={"phase": CONCLUDING})
        parts += ["", failure_view(error, job.id)]
    if job.result:
        parts += ["", result_view(job.result)]
    if job.state == "cancelled" and job.started_at and not job.parent_id:
        parts += ["", Text(f"To go on where it stopped: fdkd jobs retry {job.id}", style="dim")]
    if job.state == "succeeded":
        parts += ["", Text(_next(job, children), style="dim")]
    return Group(*parts)


def result_view(result: Figures) -> Group:
    """What a job measured; of a kind that this release does not know, as it came."""
    if isinstance(result, RunFigures):
        return run_view(result)
    if isinstance(result, StudyFigures):
        return study_view(result)
    if isinstance(result, ComparisonFigures):
        return comparison_view(result)
    if isinstance(result, DiagnosisFigures):
        return diagnosis_view(result.model_dump(mode="json"))
    return Group(Pretty(result, max_string=200))


def failure_view(error: Failure, job_id: str | None = None) -> Table:
    """What went wrong, and what to do about it."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold red", no_wrap=True)
    table.add_column(overflow="fold")
    phase = f", while {phase_words(error.phase)}" if error.phase else ""
    problems = [_located(problem) for problem in error.problems]
    # A single one is the message itself, but for its place.
    is_told = len(problems) == 1 and problems[0].endswith(error.message)
    message = problems.pop() if is_told else error.message
    table.add_row("error", f"{plain(message)} [dim]{plain(f'[{error.code}]')}{phase}[/]")
    for problem in problems:
        table.add_row("", f"- {plain(problem)}")
    if job_id:
        if error.code in _HINTS:
            table.add_row("hint", _HINTS[error.code].format(id=job_id))
        if error.retryable:
            table.add_row("retry", f"It may go better another time: fdkd jobs retry {job_id}")
    return table


def _located(problem: ProblemInfo) -> str:
    where = f"row {problem.row}: " if problem.row is not None else ""
    where += f"{problem.pointer}: " if problem.pointer else ""
    return where + problem.detail


def progress_text(progress: Progress) -> str:
    """Where a job is, as markup on one line."""
    words, steps = phase_words(progress.phase), steps_text(progress)
    return f"{words}: {steps}" if steps else words


def steps_text(progress: Progress) -> str:
    """How much of the job is done: steps, and how long the others will take; of a comparison, jobs."""
    if progress.phase == CHILDREN:
        ended = progress.step or 0
        return f"{ended} of {count(progress.total_steps or 0, 'job')} {'has' if ended == 1 else 'have'} ended"
    parts = []
    if progress.step is not None and progress.total_steps:
        parts.append(f"step {progress.step:,} of {progress.total_steps:,}")
    if progress.epoch:
        parts.append(f"epoch {progress.epoch}")
    if progress.eta_s is not None:
        parts.append(f"about {duration(progress.eta_s)} left")
    return ", ".join(parts)


def _is_interrupted(job: Job) -> bool:
    """Whether it waits for its next attempt: its progress is that of the one before."""
    return job.state == "queued" and job.progress is not None and job.progress.phase != CHILDREN


def _whereabouts(job: Job, progress: Progress) -> str:
    if not _is_interrupted(job):
        return progress_text(progress)
    # What would be left of the attempt that ended says nothing of when the job will be done.
    steps = steps_text(progress.model_copy(update={"eta_s": None}))
    return f"waits to go on; it was {phase_words(progress.phase)}{f': {steps}' if steps else ''}"


def _state_line(job: Job) -> str:
    text = styled_state(job.state)
    if job.attempt > 1:
        text += f", attempt {job.attempt}"
    if job.started_at and job.finished_at:
        text += f" [dim]after {duration((job.finished_at - job.started_at).total_seconds())}"
        text += f", {age(job.finished_at)}[/]"
    elif job.started_at and job.state == "running":
        text += f" [dim]for {duration((datetime.now(UTC) - job.started_at).total_seconds())}[/]"
    elif job.created_at:
        text += f", [dim]created {age(job.created_at)}[/]"
    if job.cancel_requested and not job.is_terminal:
        text += ", will stop at its next step"
    return text


def _made(job: Job) -> list[str]:
    assert job.models is not None
    found = [("student", job.models.student), ("teacher", job.models.teacher)]
    return [f"{plain(model_id)} ({role})" for role, model_id in found if model_id]


def _short(job: Job) -> str:
    if job.error:
        return plain(job.error.code)
    if job.result:
        return _result_in_short(job.result)
    if job.progress and not job.is_terminal:
        if job.progress.phase == CHILDREN:
            return f"{job.progress.step or 0} of {job.progress.total_steps or 0} jobs"
        share = ""
        if job.progress.step is not None and job.progress.total_steps:
            share = f" {100 * job.progress.step // job.progress.total_steps}%"
        return plain(job.progress.phase) + share + (", waits" if _is_interrupted(job) else "")
    return ""


def _result_in_short(result: Figures) -> str:
    if isinstance(result, RunFigures):
        main = facts_of_figures(result.student.test).main
        test = f"test {figure_text(result.student.test, main)}"
        if is_control(result):
            return f"{test} (the control)"
        return f"{test} ({main.signed_text(result.uplift.main.test)})" if result.uplift else test
    if isinstance(result, StudyFigures):
        main = facts_of_figures(result.student.test).main
        values = [run.test.value(main.name) or 0.0 for run in result.runs]
        return f"test {main.text(sum(values) / len(values))}" if values else ""
    if isinstance(result, ComparisonFigures):
        best = next((arm for arm in result.arms if arm.label == result.best), None)
        failed = sum(arm.error is not None and arm.error != CANCELLED for arm in result.arms)
        told = [f"{failed} of {len(result.arms)} arms failed"] if failed else []
        if best is not None:
            text = estimate_text(best.test, measure_of(result.metric))
            told.append(f"best: {plain(best.label)} {text}".rstrip())
        return ", ".join(told)
    return plain(result.verdict) if isinstance(result, DiagnosisFigures) else ""


def _next(job: Job, children: Sequence[Job]) -> str:
    """What one may want to do with a job that has succeeded."""
    if job.kind == "diagnose":
        return f"Report with its plots: fdkd jobs artifacts {job.id} -o report"
    if job.kind != "compare":
        is_search = isinstance(job.result, RunFigures) and job.result.auto is not None
        more = f"; all that was tried: fdkd jobs artifacts {job.id} -o report" if is_search else ""
        return f"Next: fdkd students download {job.id} -o student{more}"
    result = job.result if isinstance(job.result, ComparisonFigures) else None
    steps = [f"fdkd jobs artifacts {job.id} -o report"]
    student = next((child.id for child in children if result and child.name == result.best), None)
    if student is not None:
        steps.append(f"fdkd students download {student} -o student")
    # One that diverged would do so again.
    errors = [arm.error for arm in result.arms if arm.error] if result else []
    if not all(error.startswith("diverged") for error in errors):
        arms = "the arm" if len(errors) == 1 else "the arms"
        steps.append(f"fdkd jobs retry {job.id}, which runs {arms} without figures again")
    return f"Next: {'; '.join(steps)}"


def _time(job: Job) -> str:
    if job.started_at is None:
        return ""
    until = job.finished_at or datetime.now(UTC)
    return duration((until - job.started_at).total_seconds())
