from __future__ import annotations

import itertools

import pytest

from service.jobs.states import TERMINAL, TRANSITIONS, JobEventType, JobState


def test_every_event_has_one_transition() -> None:
    assert set(TRANSITIONS) == set(JobEventType)


def test_nothing_leaves_a_terminal_state() -> None:
    assert {transition.source for transition in TRANSITIONS.values()}.isdisjoint(TERMINAL)


def test_every_state_can_be_reached_and_ended() -> None:
    edges = {(transition.source, transition.target) for transition in TRANSITIONS.values()}

    def reachable(start: JobState) -> set[JobState]:
        found = {start}
        for _ in JobState:
            found |= {target for source, target in edges if source in found}
        return found

    assert reachable(JobState.QUEUED) == set(JobState)
    assert all(reachable(state) & TERMINAL for state in JobState)


def test_whoever_holds_a_job_must_name_its_attempt() -> None:
    """A comparison that waits for its children runs, and nobody holds it."""
    assert {event for event, transition in TRANSITIONS.items() if transition.fenced} == {
        event
        for event, transition in TRANSITIONS.items()
        if transition.source is JobState.RUNNING and not event.startswith("job.child")
    }


@pytest.mark.parametrize(
    ("source", "target"),
    [pair for pair in itertools.product(JobState, JobState) if pair[0] != pair[1]],
)
def test_the_whole_product_of_states(source: JobState, target: JobState) -> None:
    allowed = {
        ("queued", "running"),
        ("queued", "cancelled"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("running", "cancelled"),
        ("running", "queued"),
    }
    found = any(t.source is source and t.target is target for t in TRANSITIONS.values())
    assert found == ((source.value, target.value) in allowed)
