"""Draws the table of transitions into `docs/job-lifecycle.md`: `python -m service.jobs.lifecycle`."""

from __future__ import annotations

from pathlib import Path
from string import ascii_uppercase

from service.drawn_documents import redrawn
from service.jobs.states import TERMINAL, TRANSITIONS, JobEventType, JobState, Transition

PATH = Path(__file__).parents[2] / "docs" / "job-lifecycle.md"


def draw() -> str:
    """A mermaid diagram with a letter for each arrow, and a table with a sentence for each letter."""
    arrows = list(zip(ascii_uppercase, TRANSITIONS.items(), strict=False))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {JobState.QUEUED}"]
    lines += [f"    {arrow.source} --> {arrow.target}: {letter}" for letter, (_, arrow) in arrows]
    lines += [f"    {state} --> [*]" for state in JobState if state in TERMINAL]
    lines += ["```", "", "| | event | from | to | when | names its attempt |", "|---|---|---|---|---|---|"]
    lines += [_row(letter, event, arrow) for letter, (event, arrow) in arrows]
    return "\n".join(lines) + "\n"


def redraw(document: str) -> str:
    """The document with its drawn part made anew; the rest is written by hand."""
    return redrawn(document, draw(), PATH.name)


def _row(letter: str, event: JobEventType, arrow: Transition) -> str:
    fenced = "yes" if arrow.fenced else ""
    return f"| {letter} | `{event}` | {arrow.source} | {arrow.target} | {arrow.when} | {fenced} |"


if __name__ == "__main__":
    PATH.write_text(redraw(PATH.read_text(encoding="utf-8")), encoding="utf-8")
