"""How many GPUs a job needs at once, and whether there is a worker that has them."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fdkd_core.errors import InputError, Problem
from fdkd_core.spec import AnyJobSpec, CompareSpec
from fdkd_core.spec.processes import stated_processes
from service.db import db_now
from service.health import HEARTBEATS_MISSED
from service.tables import Worker

POINTER = "/spec/resources/gpus"


def needed_gpus(spec: AnyJobSpec) -> int:
    """GPUs that a worker must have to take the job. A comparison itself trains nothing; its children do."""
    return 1 if isinstance(spec, CompareSpec) else stated_processes(spec)


def check_gpus(session: Session, spec: AnyJobSpec, lease_s: float) -> None:
    """Refuses a job that would wait for ever: no worker that is there has so many GPUs.

    While no worker is there at all, nobody knows, and the job waits for one that can take it.

    Args:
        session: To look for workers.
        spec: The job.
        lease_s: A worker is there when it was heard of within a few of these.

    Raises:
        InputError: With the code `not_available`.
    """
    wanted = stated_processes(spec)
    if wanted == 1:
        return  # no look at the table for nearly all jobs
    oldest = db_now(-HEARTBEATS_MISSED * lease_s)
    most = session.scalar(select(func.max(Worker.gpus)).where(Worker.heartbeat_at > oldest))
    if most is not None and most < wanted:
        found = "has no GPU" if most == 0 else f"has {most} GPU{'s' if most > 1 else ''} for one job"
        detail = f"asks for {wanted} GPUs; the largest worker that is there {found}"
        raise InputError(Problem("not_available", detail, POINTER))
