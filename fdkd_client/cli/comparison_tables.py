"""What studies, comparisons and diagnoses found, as a person reads it."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fdkd_client.cli.terminal import new_table, plain, printable
from fdkd_client.figures import (
    ArmFigures,
    ComparisonFigures,
    EstimateFigures,
    StudyFigures,
)
from fdkd_client.model_figures import SplitFigures
from fdkd_core.cost_words import cost_lines
from fdkd_core.count_words import begin, count, duration
from fdkd_core.spec.measures import MEASURES, Measure
from fdkd_core.spec.pairing_words import goes_without_saying, pairing_sentence
from fdkd_core.spec.result import CANCELLED
from fdkd_core.spec.row_blocks import SEEDS
from fdkd_core.spec.tasks import facts_of_figures

_VERDICT_STYLES = {
    "helps": "green", "hurts": "red", "no evidence": "yellow",
}  # fmt: skip


def comparison_view(result: ComparisonFigures) -> Group:
    """Every arm beside the control without a teacher, and what that means."""
    measure = measure_of(result.metric)
    numbers = ("lr", "test", "to control", "p", "gap", "time")
    table = new_table("arm", *numbers[:-1], "verdict", numbers[-1], right=numbers, wide=("arm",))
    table.columns[0].overflow = "fold"  # a label that is cut off says nothing
    for arm in result.arms:
        style = "bold" if arm.label == result.best else None
        table.add_row(*_arm_row(arm, measure), style=style)
    lines: list[RenderableType] = [table, ""]
    if result.teacher is not None:
        test = figure_text(result.teacher.test, measure, unit=True)
        lines.append(Text.from_markup(f"teacher  sees {plain(result.teacher.modality)}: {test}"))
    for arm in result.arms:
        if arm.error is not None and arm.error != CANCELLED:
            lines.append(Text(f"{printable(arm.label)} failed: {printable(arm.error)[:200]}", style="red"))
    lines.append(_bullets(result.summary))
    lines.append(Text(_legend(result, measure), style="dim"))
    return Group(*lines)


def study_view(result: StudyFigures) -> Group:
    """The final runs of one method, and what it was tuned to."""
    first, second = facts_of_figures(result.student.test).measures[:2]
    columns = ("seed", f"val {first.short}", f"test {first.short}", second.short, "best epoch", "time")
    table = new_table(*columns, right=columns)
    for run in result.runs:
        table.add_row(
            str(run.seed), figure_text(run.val, first), figure_text(run.test, first),
            figure_text(run.test, second), f"{run.best_epoch}/{run.epochs}", duration(run.seconds),
        )  # fmt: skip
    diverged = sum(trial.val is None for trial in result.trials)
    told = f", {diverged} of which diverged" if diverged else ""
    tuned = ", ".join(f"{name} {_value(value)}" for name, value in _tuned(result))
    why = f". {printable(result.chosen)}" if result.chosen else ""
    name = printable(str(result.method.get("name", "?")))
    if result.teacher_view != "paired":
        name += f", with {printable(result.teacher_view)}"
    lines: list[RenderableType] = [
        table,
        "",
        *([] if result.test is None or result.metric is None else [Text(_expected(result, result.test))]),
        Text(f"{name}, tuned in {count(len(result.trials), 'trial')}{told}: {tuned}{why}"),
        *(Text(printable(pairing_sentence(rows))) for rows in result.taught if not goes_without_saying(rows)),
        *(
            Text(f"{heading}: {printable(words)}")
            for heading, words in cost_lines(
                result.student.latency, result.teacher.latency if result.teacher else None, result.export
            )
        ),
        Text(columns_text(first, second), style="dim"),
    ]
    return Group(*lines)


def _expected(result: StudyFigures, test: EstimateFigures) -> str:
    """What another training like these will come to."""
    measure = measure_of(result.metric or "")
    told = f"test {measure.words}: {measure.text(test.mean, unit=True)}"
    if len(result.runs) < 2 or test.low == test.high:
        return told
    low, high = (measure.text(measure.possible(bound)) for bound in (test.low, test.high))
    return f"{told} (95 % interval {low} to {high} over {printable(result.intervals)})"


def measure_of(name: str) -> Measure:
    """What is known of a figure; one that this release does not know is shown as it is."""
    return MEASURES.get(name) or Measure(name, printable(name), printable(name), "number")


def figure_text(figures: SplitFigures, measure: Measure, *, unit: bool = False) -> str:
    """One figure of a split; nothing where it is not among them."""
    value = figures.value(measure.name)
    return "" if value is None else measure.text(value, unit=unit)


def columns_text(first: Measure, second: Measure) -> str:
    """What the columns of a table are of."""
    words = f"{first.words} and {second.words}"
    unit = " in %" if first.form == second.form == "share" else ""
    return f"{begin(words)}{unit}."


def estimate_text(estimate: EstimateFigures | None, measure: Measure, *, signed: bool = False) -> str:
    """Such as `93.4 ±0.6`: Student's interval is as wide to both sides; without one where there is none."""
    if estimate is None:
        return ""
    half = (estimate.high - estimate.low) / 2
    mean = measure.signed_text(estimate.mean) if signed else measure.text(estimate.mean)
    return mean + (f" ±{measure.text(half)}" if half > 0 else "")


def _bullets(sentences: list[str]) -> Table:
    """Nothing of them stands under their marks, however narrow the terminal is."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1)
    table.add_column(overflow="fold")
    for sentence in sentences:
        table.add_row("-", Text(printable(sentence)))
    return table


def _legend(result: ComparisonFigures, measure: Measure) -> str:
    """What the columns are, and which arms are no methods."""
    heading = begin(measure.heading)
    fakes = sorted({arm.teacher_view for arm in result.arms if arm.teacher_view != "paired"})
    told = (
        f" Arms with {' or '.join(map(printable, fakes))} are controls: the same method with a teacher "
        "changed in that way."
        if fakes
        else ""
    )
    if not measure.larger_is_better:
        told = f" Differences to the control are of the test split{measure.turned}.{told}"
    if max((len(arm.runs) for arm in result.arms), default=0) == 1:
        return f"{heading}, of one seed; gap: share of the way from the control to the teacher.{told}"
    adjusted = "of methods adjusted for their number" if fakes else "adjusted for the number of methods"
    over = "over seeds; p of the paired t-test"
    if result.intervals != SEEDS:
        over = f"over seeds, to the control over {printable(result.intervals)}; p of the same"
    return (
        f"{heading}, ± half of a 95 % interval {over}, {adjusted}; gap: share of "
        f"the way from the control to the teacher.{told}"
    )


def _arm_row(arm: ArmFigures, measure: Measure) -> list[str]:
    label = plain(arm.label)
    if arm.error is not None:
        ended = "[yellow]cancelled[/]" if arm.error == CANCELLED else "[red]failed[/]"
        return [label, "", "", "", "", "", ended, duration(arm.seconds)]
    p_value = arm.p_value_holm if arm.p_value_holm is not None else arm.p_value
    closed = arm.teacher_gap_closed
    verdict = arm.verdict or ("the control" if arm.difference is None and arm.is_control else "")
    style = _VERDICT_STYLES.get(verdict, "dim")
    return [
        label,
        f"{arm.lr:.3g}" if arm.lr is not None else "",
        estimate_text(arm.test, measure),
        estimate_text(arm.difference, measure, signed=True),
        "" if p_value is None else "<0.001" if p_value < 0.001 else f"{p_value:.3f}",
        "" if closed is None else f"{100 * closed:.0f}%",
        f"[{style}]{plain(verdict)}[/]" if verdict else "",
        duration(arm.seconds),
    ]


def _tuned(result: StudyFigures) -> list[tuple[str, Any]]:
    return [("lr", result.lr), *((printable(name), value) for name, value in result.parameters.items())]


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_value(entry) for entry in value)
    return printable(str(value))
