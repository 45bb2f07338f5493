"""Which jobs several processes can train together."""

from __future__ import annotations

from fdkd_core.errors import Problem
from fdkd_core.spec.diagnose import DiagnoseSpec
from fdkd_core.spec.frozen_teachers import method_pointers
from fdkd_core.spec.job import TeachingSpec, teacher_pointer
from fdkd_core.spec.kinds import AnyJobSpec
from fdkd_core.spec.methods import DistillingSpec
from fdkd_core.spec.training import TrainingSpec

MIN_ROWS_EACH = 4
"""Rows of a batch for each process. An epoch is divided evenly, which leaves batches of half the size at
worst: two rows each, so that none has nothing to do."""


def stated_processes(spec: AnyJobSpec) -> int:
    """Processes that the spec asks for; a diagnosis, which trains for seconds, has one."""
    return 1 if isinstance(spec, DiagnoseSpec) else spec.resources.gpus


def process_problems(spec: AnyJobSpec, processes: int) -> list[Problem]:
    """Why a job cannot be divided among so many processes; codes `not_supported` and `incompatible`.

    Args:
        spec: The job.
        processes: That train one model.
    """
    if processes == 1:
        return []
    problems = []
    trainings = {"/training": spec.training}
    if isinstance(spec, TeachingSpec):
        for index, teacher in enumerate(spec.teachers):
            if teacher.is_trained:
                trainings[f"{teacher_pointer(index)}/train"] = teacher.train or TrainingSpec()
        for pointer, method in method_pointers(spec):
            if isinstance(method, DistillingSpec) and method.needs_teacher_inputs:
                detail = f"{method.name} trains the teacher too, which is done by one process alone"
                problems.append(Problem("not_supported", detail, pointer))
    needed = MIN_ROWS_EACH * processes
    for pointer, training in trainings.items():
        if training.batch_size < needed:
            detail = f"{processes} processes share a batch: it must have at least {needed} rows"
            problems.append(Problem("incompatible", detail, f"{pointer}/batch_size"))
        if training.log_gradient_norms:
            detail = "gradient norms of single terms are logged by one process alone"
            problems.append(Problem("not_supported", detail, f"{pointer}/log_gradient_norms"))
    return problems
