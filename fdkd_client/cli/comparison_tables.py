"""What studies, comparisons and diagnoses found, as a person reads it."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fdkd_client.cli.terminal import new_table, plain, printable
from fdkd_client.cli.wording import count, duration, percent
from fdkd_client.figures import (
    ArmFigures,
    ComparisonFigures,
    EstimateFigures,
    StudyFigures,
)
from fdkd_core.cost_words import cost_lines

_VERDICT_STYLES = {
    "helps": "green", "hurts": "red", "no evidence": "yellow",
}  # fmt: skip
_FIGURE_WORDS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def comparison_view(result: ComparisonFigures) -> Group:
    """Every arm beside the control without a teacher, and what that means."""
    figure = _FIGURE_WORDS.get(result.metric, plain(result.metric))
    numbers = ("lr", "test", "to control", "p", "gap", "time")
    table = new_table("arm", *numbers[:-1], "verdict", numbers[-1], right=numbers, wide=("arm",))
    table.columns[0].overflow = "fold"  # a label that is cut off says nothing
    for arm in result.arms:
        style = "bold" if arm.label == result.best else None
        table.add_row(*_arm_row(arm), style=style)
    lines: list[RenderableType] = [table, ""]
    if result.teacher is not None:
        test = getattr(result.teacher.test, result.metric, result.teacher.test.accuracy)
        lines.append(Text.from_markup(f"teacher  sees {plain(result.teacher.modality)}: {percent(test)}"))
    for arm in result.arms:
        if arm.error is not None:
            lines.append(Text(f"{printable(arm.label)} failed: {printable(arm.error)[:200]}", style="red"))
    lines += [Text(f"- {printable(sentence)}") for sentence in result.summary]
    lines.append(
        Text(
            f"{figure} in %, ± the half of a 95 % interval over seeds; p of the paired t-test, adjusted for "
            "the number of methods; gap: share of the way from the control to the teacher.",
            style="dim",
        )
    )
    return Group(*lines)


def study_view(result: StudyFigures) -> Group:
    """The final runs of one method, and what it was tuned to."""
    table = new_table(
        "seed", "val acc", "test acc", "F1", "best epoch", "time",
        right=("seed", "val acc", "test acc", "F1", "best epoch", "time"),
    )  # fmt: skip
    for run in result.runs:
        table.add_row(
            str(run.seed), percent(run.val.accuracy), percent(run.test.accuracy), percent(run.test.macro_f1),
            f"{run.best_epoch}/{run.epochs}", duration(run.seconds),
        )  # fmt: skip
    diverged = sum(trial.val is None for trial in result.trials)
    told = f", {diverged} of which diverged" if diverged else ""
    tuned = ", ".join(f"{name} {_value(value)}" for name, value in _tuned(result))
    name = printable(str(result.method.get("name", "?")))
    if result.teacher_view != "paired":
        name += f", with {printable(result.teacher_view)}"
    lines: list[RenderableType] = [
        table,
        "",
        Text(f"{name}, tuned in {count(len(result.trials), 'trial')}{told}: {tuned}"),
        *(
            Text(f"{heading}: {printable(words)}")
            for heading, words in cost_lines(
                result.student.latency, result.teacher.latency if result.teacher else None, result.export
            )
        ),
        Text("Accuracy and macro-F1 in %.", style="dim"),
    ]
    return Group(*lines)


def estimate_text(estimate: EstimateFigures | None, *, sign: str = "") -> str:
    """Such as `93.4 ±0.6`: Student's interval is as wide to both sides; without one where there is none."""
    if estimate is None:
        return ""
    half = (estimate.high - estimate.low) / 2
    return f"{100 * estimate.mean:{sign}.1f}" + (f" ±{100 * half:.1f}" if half > 0 else "")


def _arm_row(arm: ArmFigures) -> list[str]:
    label = plain(arm.label)
    if arm.error is not None:
        return [label, "", "", "", "", "", "[red]failed[/]", duration(arm.seconds)]
    p_value = arm.p_value_holm if arm.p_value_holm is not None else arm.p_value
    closed = arm.teacher_gap_closed
    verdict = arm.verdict or ("the control" if arm.difference is None and arm.is_control else "")
    style = _VERDICT_STYLES.get(verdict, "dim")
    return [
        label,
        f"{arm.lr:.3g}" if arm.lr is not None else "",
        estimate_text(arm.test),
        estimate_text(arm.difference, sign="+"),
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
