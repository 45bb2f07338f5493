from __future__ import annotations

import pytest

from service.jobs.lifecycle import PATH, draw, redraw
from service.jobs.states import TRANSITIONS, JobState


def test_the_document_shows_the_table_as_it_is() -> None:
    document = PATH.read_text(encoding="utf-8")
    assert document == redraw(document), "run python -m service.jobs.lifecycle"
    assert draw() in document


def test_every_arrow_and_every_state_is_drawn() -> None:
    drawn = draw()
    for event, arrow in TRANSITIONS.items():
        assert f"| `{event}` | {arrow.source} | {arrow.target} | {arrow.when} |" in drawn
    diagram = drawn.partition("```mermaid")[2].partition("```")[0]
    assert diagram.count("-->") == len(TRANSITIONS) + 1 + 3
    assert all(state in diagram for state in JobState)


def test_a_document_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="lost its marks"):
        redraw("# Another document\n")
