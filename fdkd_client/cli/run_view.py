"""What one distillation, or one training, measured, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fdkd_client.cli.comparison_tables import columns_text, figure_text
from fdkd_client.cli.search_view import search_view
from fdkd_client.cli.terminal import new_table, printable
from fdkd_client.figures import RunFigures, UpliftFigures
from fdkd_client.model_figures import ModelFigures
from fdkd_client.search_figures import SearchFigures
from fdkd_core.cost_words import cost_lines
from fdkd_core.count_words import duration, size
from fdkd_core.spec.compare import NO_TEACHER
from fdkd_core.spec.measures import Measure
from fdkd_core.spec.pairing_words import goes_without_saying, pairing_sentence
from fdkd_core.spec.tasks import facts_of_figures
from fdkd_core.spec.uplift import half_width_of, noise_words, teacher_behind


def run_view(result: RunFigures) -> Group:
    """The figures of teacher, student and control, and what the teacher was worth."""
    first, second = facts_of_figures(result.student.test).measures[:2]
    numbers = ("params", "size", f"val {first.short}", f"test {first.short}", second.short, "time")
    table = new_table("", "sees", "network", *numbers, right=numbers, wide=("sees", "network"))
    models: list[tuple[str, ModelFigures | None]] = [("teacher", result.teacher)]
    models += [(f"teacher{index}", model) for index, model in enumerate(result.more_teachers, start=2)]
    for role, model in (*models, ("student", result.student), ("control", result.control)):
        if model is not None:
            table.add_row(
                *_row(role, model, first, second), style="bold green" if role == "student" else None
            )
    search: list[RenderableType] = []
    found: list[tuple[str, Text]] = []
    if result.uplift is not None and not is_control(result):
        found.append(("uplift", Text.from_markup(uplift_text(result.uplift, first))))
    if told := _teacher_behind(result, first):
        found.append(("teacher", Text(told, style="yellow")))
    if result.uplift is not None and result.uplift.chance is not None and result.uplift.chance.warning:
        found.append(("warning", Text(printable(result.uplift.chance.warning), style="yellow")))
    for rows in result.taught:
        if not goes_without_saying(rows):
            found.append(("rows", Text(printable(pairing_sentence(rows)))))
    if result.auto is not None:
        found.append(("chosen", Text(printable(_why_chosen(result.auto)))))
        search = search_view(SearchFigures.model_validate(result.auto))
    teacher = None if result.teacher is None else result.teacher.latency
    for heading, words in cost_lines(result.student.latency, teacher, result.export):
        found.append((heading, Text(printable(words))))
    for gate in result.gates:
        style = "green" if gate.passed else "yellow"
        found.append(("gate", Text(printable(gate.sentence), style=style)))
    control = " The control is the same student without a teacher." if result.control else ""
    last = Text(f"{columns_text(first, second)}{control}", style="dim")
    return Group(table, "", *search, headed(found), last)


def headed(found: Iterable[tuple[str, Text]]) -> Table:
    """Sentences behind a word each, under which nothing of them stands however narrow the terminal is."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(min_width=7, no_wrap=True)
    table.add_column(overflow="fold")
    for heading, words in found:
        table.add_row(heading, words)
    return table


def is_control(result: RunFigures) -> bool:
    """Whether a search handed over the control itself, which is no better than itself."""
    return result.auto is not None and result.auto.get("winner_label") == NO_TEACHER


def _teacher_behind(result: RunFigures, main: Measure) -> str:
    """That there was little to be taught, where the student is better than its teachers without them."""
    control = None if result.control is None else result.control.test.value(main.name)
    teachers = [model for model in (result.teacher, *result.more_teachers) if model is not None]
    known = [value for model in teachers if (value := model.test.value(main.name)) is not None]
    if control is None or not known or len(known) < len(teachers):
        return ""
    return teacher_behind(main, known, control)


def _why_chosen(auto: dict[str, Any]) -> str:
    """Who is handed over and why; the reason mostly begins with the name."""
    label, reason = str(auto.get("winner_label", "?")), str(auto.get("reason", ""))
    return reason if reason.startswith(f"{label} ") else f"{label}: {reason}"


def uplift_text(uplift: UpliftFigures, main: Measure) -> str:
    """What the teacher added, with its noise, as markup."""
    found, half = uplift.main, half_width_of(uplift.main)
    is_noise = not half or abs(found.test) <= half  # none is not known either
    style = "yellow" if is_noise else "green" if found.test > 0 else "red"
    closed = uplift.teacher_gap_closed
    gap = f", {100 * closed:.0f}% of the gap to the teacher" if closed is not None and closed > 0 else ""
    joint = "of" if main.form == "share" else "in"
    return (
        f"[bold {style}]{main.gain(found.test)}[/] {joint} {main.words} over the control"
        f"{main.turned}{gap}; "
        f"{noise_words(main, found.test, half, found.groups, found.grouped_by)}"
    )


def _row(role: str, model: ModelFigures, first: Measure, second: Measure) -> list[str]:
    network = str(model.architecture.get("name", "?"))
    if "width" in model.architecture:
        network += f"-{model.architecture['width']}"
    return [
        role,
        printable(model.modality),
        printable(network),
        f"{model.parameters:,}" if model.parameters else "-",  # of recorded outputs nobody knows
        size(model.size_bytes) if model.size_bytes else "-",
        figure_text(model.val, first),
        figure_text(model.test, first),
        figure_text(model.test, second),
        duration(model.seconds) if model.epochs else "given",
    ]
