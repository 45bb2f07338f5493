"""What a job tried that chose its method itself, as a person reads it."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.text import Text

from fdkd_client.cli.comparison_tables import measure_of
from fdkd_client.cli.terminal import new_table, plain
from fdkd_client.search_figures import FinalistFigures, SearchFigures, TriedFigures
from fdkd_core.count_words import begin
from fdkd_core.search_words import difference_heading, finalist_words, tried_words
from fdkd_core.spec.measures import Measure
from fdkd_core.spec.tasks import facts_of_figures


def search_view(search: SearchFigures) -> list[RenderableType]:
    """The finalists, how they were judged, and how many others there were; nothing where there are none."""
    if not search.finalists:
        return []
    measure = measure_of(search.select_by)
    main = facts_of_figures(next((run.test for f in search.finalists for run in f.runs), None)).main
    folds = max(len(found.folds) for found in search.finalists)
    numbers = ("lr", f"val {measure.short}", difference_heading(folds), f"test {main.short}")
    words = ("finalist", "tuned")
    table = new_table(words[0], numbers[0], words[1], *numbers[1:], right=numbers, wide=words)
    for place in (0, 2):
        table.columns[place].overflow = "fold"  # what is cut off says nothing
    by_number = {tried.number: tried for tried in search.configurations}
    for found in search.finalists:
        style = "bold" if found.number == search.winner else None
        table.add_row(*_row(found, by_number.get(found.number), measure, main), style=style)
    trainings = sum(len(tried.rungs) for tried in search.configurations)
    tried = tried_words(len(search.configurations), trainings, cut_short=search.cut_short)
    seeds = max(len(found.runs) for found in search.finalists)
    told = f"{begin(tried)}. {finalist_words(measure, seeds, folds)}"
    return [table, "", Text(told, style="dim"), ""]


def _row(found: FinalistFigures, tried: TriedFigures | None, measure: Measure, main: Measure) -> list[str]:
    lr = "" if tried is None or tried.lr is None else f"{tried.lr:.3g}"
    known = [plain(found.label), lr, plain(_parameters({} if tried is None else tried.parameters))]
    if found.val is None or found.test is None:
        return [*known, "[yellow]diverged[/]", "", ""]
    decided = ""
    if found.val_difference is not None and found.val_standard_error is not None:
        decided = f"{measure.signed_text(found.val_difference)} ±{measure.text(found.val_standard_error)}"
    # In a result larger is better, also of errors.
    return [*known, measure.text(measure.signed(found.val)), decided, main.text(found.test.mean)]


def _parameters(parameters: dict[str, Any]) -> str:
    """One after the other, so that a narrow column has a line of each."""
    shown = (
        (name, f"{value:.3g}" if isinstance(value, float) else str(value))
        for name, value in parameters.items()
    )
    return " ".join(f"{name}={value}" for name, value in sorted(shown))
