"""The life of a job as one table, from which the code moves it and `docs/job-lifecycle.md` is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """Where a job is. The last three are terminal and never change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class JobEventType(StrEnum):
    """What can happen to a job."""

    CLAIMED = "job.claimed"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    STOPPED = "job.stopped"
    LOST = "job.lost"
    YIELDED = "job.yielded"
    GIVEN_UP = "job.given_up"
    CHILDREN_STARTED = "job.children_started"
    CHILDREN_ENDED = "job.children_ended"
    CHILDREN_STOPPED = "job.children_stopped"
    CHILD_FAILED = "job.child_failed"


@dataclass(frozen=True)
class Transition:
    """One arrow of the diagram."""

    source: JobState
    target: JobState
    fenced: bool
    """Whether it is the holder of the job who does it, and the attempt must be its own."""
    when: str


TRANSITIONS: dict[JobEventType, Transition] = {
    JobEventType.CLAIMED: Transition(
        JobState.QUEUED, JobState.RUNNING, False, "A worker takes the job; its attempt number grows by one."
    ),
    JobEventType.CANCELLED: Transition(
        JobState.QUEUED, JobState.CANCELLED, False, "The user cancels before any worker has it."
    ),
    JobEventType.SUCCEEDED: Transition(
        JobState.RUNNING,
        JobState.SUCCEEDED,
        True,
        "Every artifact is stored and checked; they are listed with this.",
    ),
    JobEventType.FAILED: Transition(
        JobState.RUNNING,
        JobState.FAILED,
        True,
        "The trainer ended with an error that another attempt would meet again.",
    ),
    JobEventType.STOPPED: Transition(
        JobState.RUNNING,
        JobState.CANCELLED,
        True,
        "The user cancelled; the trainer stopped, or its lease ran out.",
    ),
    JobEventType.LOST: Transition(
        JobState.RUNNING,
        JobState.QUEUED,
        True,
        "The trainer crashed or its worker died; the next attempt resumes.",
    ),
    JobEventType.YIELDED: Transition(
        JobState.RUNNING,
        JobState.QUEUED,
        True,
        "The worker is shutting down after a checkpoint; nothing is charged, and its place is kept.",
    ),
    JobEventType.GIVEN_UP: Transition(
        JobState.RUNNING, JobState.FAILED, True, "Too many attempts were lost, or two at the same step."
    ),
    JobEventType.CHILDREN_STARTED: Transition(
        JobState.QUEUED,
        JobState.RUNNING,
        False,
        "The first child of a comparison is claimed, or none is left to be.",
    ),
    JobEventType.CHILDREN_ENDED: Transition(
        JobState.RUNNING, JobState.QUEUED, False, "All of them have ended; a worker may conclude."
    ),
    JobEventType.CHILDREN_STOPPED: Transition(
        JobState.RUNNING,
        JobState.CANCELLED,
        False,
        "The user cancelled it, or a child without which there is nothing to conclude; none runs any more.",
    ),
    JobEventType.CHILD_FAILED: Transition(
        JobState.RUNNING,
        JobState.FAILED,
        False,
        "A child without which there is nothing to conclude failed, and no other runs any more.",
    ),
}
"""A cancellation of a running job is a wish (`cancel_requested_at`), not a state: it may come too late."""
