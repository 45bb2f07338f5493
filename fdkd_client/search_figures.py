"""What a job with `method: auto` tried, as `RunFigures.auto` has it; read where it is shown."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fdkd_client.figures import EstimateFigures
from fdkd_client.model_figures import Answer, SplitFigures


class TriedFigures(Answer):
    """A configuration of the search."""

    number: int
    label: str
    lr: float | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    rungs: list[dict[str, Any]] = Field(default_factory=list)
    """Its short trainings."""


class FinalistRunFigures(Answer):
    """One training of a finalist in full."""

    test: SplitFigures | None = None


class FinalistFigures(Answer):
    """A configuration that was trained in full."""

    number: int
    label: str
    runs: list[FinalistRunFigures] = Field(default_factory=list)
    val: float | None = None
    """Larger is better, also of errors; None when a run diverged."""
    val_difference: float | None = None
    val_standard_error: float | None = None
    folds: list[float] = Field(default_factory=list)
    test: EstimateFigures | None = None


class SearchFigures(Answer):
    """All that was tried, and who was handed over."""

    select_by: str = "accuracy"
    configurations: list[TriedFigures] = Field(default_factory=list)
    finalists: list[FinalistFigures] = Field(default_factory=list)
    """The control first."""
    winner: int | None = None
    cut_short: bool = False
