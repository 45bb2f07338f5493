"""Figures of any task in sentences."""

from __future__ import annotations

from fdkd_core.spec.findings import SampleFindings
from fdkd_core.spec.measures import Measure


def level(measure: Measure, value: float) -> str:
    """A figure with its name: `93.4 % accuracy`, `R² 0.853`."""
    text = measure.text(value, unit=True)
    return f"{text} {measure.words}" if measure.form == "share" else f"{measure.words} {text}"


def amount(measure: Measure, value: float) -> str:
    """A difference without a sign: `2.1 points`, `0.021`, `3.1` in the unit of the data."""
    return measure.text(value) + (" points" if measure.form == "share" else "")


def gain(measure: Measure, value: float) -> str:
    """What a method may do to a figure: `add 2.1 points`, `take off 3.1`."""
    return f"{'add' if measure.larger_is_better else 'take off'} {amount(measure, value)}"


def difference(measure: Measure, ahead: float, noise: float | None) -> str:
    """By how much one is ahead of another: `+4.0 ± 1.1 points`, `smaller by 3.1 ± 0.4`.

    Args:
        measure: Of both.
        ahead: Turned so that more is better.
        noise: In the same unit; None where it is not known.
    """
    spread = "" if noise is None else f" ± {measure.text(noise)}"
    if measure.larger_is_better:
        unit = " points" if measure.form == "share" else ""
        return f"{measure.signed_text(ahead)}{spread}{unit}"
    return f"{'smaller' if ahead >= 0 else 'larger'} by {measure.text(abs(ahead))}{spread}"


def left_out(sample: SampleFindings) -> str:
    """Which training rows were not looked at, in a sentence; nothing where all are pairs."""
    if not sample.unpaired_rows:
        return ""
    return (
        f"{sample.unpaired_rows:,} of {sample.train_rows:,} training rows lack the teacher's modality and "
        "were left out."
    )
