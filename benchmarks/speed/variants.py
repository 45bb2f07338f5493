"""The steps that are compared: each variant is built from the workload and then called with a step number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from authors_step import AuthorsTraining, Heads
from workload import CLASSES, Precision, Workload

from fdkd_core.models.base import ModelOutput
from fdkd_core.spec import FDCMKDSpec
from fdkd_core.training.loop import train_step

Step = Callable[[int], float]
"""Takes the step's number, gives its loss."""

PLAIN = "plain student"
CACHED = "FD-CMKD, cached teacher"


def plain(workload: Workload, precision: Precision = "fp32") -> Step:
    """The student alone: what everything else is compared with."""
    trainee, batches = workload.trainee("audio", precision=precision), workload.student_batches
    return lambda step: train_step(trainee, batches[step % len(batches)], lr=0.01, step=step).loss


def fd_cmkd_cached(workload: Workload, precision: Precision = "fp32") -> Step:
    """Ours: the teacher's outputs were computed once, before training."""
    trainee = workload.trainee("audio", FDCMKDSpec(), workload.cached_outputs(), precision=precision)
    batches = workload.student_batches
    return lambda step: train_step(trainee, batches[step % len(batches)], lr=0.01, step=step).loss


def fd_cmkd_uncached(workload: Workload) -> Step:
    """Ours, but with the teacher's forward in every step: what the cache saves."""
    teacher = workload.teacher()
    # The method is built for the teacher's width, which it takes from these; each step replaces them.
    width = ModelOutput(torch.zeros(1, teacher.feature_dim), torch.zeros(1, CLASSES))
    trainee = workload.trainee("audio", FDCMKDSpec(), width)
    batches, inputs = workload.student_batches, workload.teacher_inputs

    def step(number: int) -> float:
        index = number % len(batches)
        with torch.no_grad():
            trainee.teacher_outputs = teacher(torch.from_numpy(inputs[index]).to(workload.device))
        batch = batches[index]
        in_order = replace(batch, positions=np.arange(len(batch.labels)))
        return train_step(trainee, in_order, lr=0.01, step=number).loss

    return step


def authors(workload: Workload, *, channels_last: bool | None = None) -> Step:
    """The authors' step on the same networks and batches."""
    student = workload.model("audio", channels_last=channels_last)
    heads = Heads(student.feature_dim, CLASSES).to(workload.device)
    teacher = workload.teacher(channels_last=channels_last)
    training = AuthorsTraining(student, teacher, heads, workload.device)
    batches, inputs = workload.student_batches, workload.teacher_inputs

    def step(number: int) -> float:
        index = number % len(batches)
        batch = batches[index]
        return training.step(
            torch.from_numpy(batch.inputs), torch.from_numpy(inputs[index]), torch.from_numpy(batch.labels)
        )

    return step


def teacher_alone(workload: Workload) -> Step:
    """The teacher's forward of one batch: what filling the cache costs, once, and what no cache costs."""
    teacher, inputs = workload.teacher(), workload.teacher_inputs

    @torch.no_grad()
    def step(number: int) -> float:
        batch = torch.from_numpy(inputs[number % len(inputs)]).to(workload.device)
        return float(teacher(batch).logits.sum())

    return step


def variants(device: torch.device) -> dict[str, Callable[[Workload], Step]]:
    """Every variant that makes sense on a device, the plain student first."""
    found: dict[str, Callable[[Workload], Step]] = {
        PLAIN: plain,
        CACHED: fd_cmkd_cached,
        "FD-CMKD, teacher in the step": fd_cmkd_uncached,
        "authors' step": authors,
        "teacher's forward alone": teacher_alone,
    }
    if device.type == "cpu":
        # Trainees are in channels-last on CPUs. A plain script is not: that gap is the layout's, not the
        # step's.
        found["authors' step, default layout"] = lambda workload: authors(workload, channels_last=False)
    else:
        # bf16 without hardware for it is tens of times slower and says nothing.
        found["plain student, bf16"] = lambda workload: plain(workload, "bf16")
        found["FD-CMKD, cached teacher, bf16"] = lambda workload: fd_cmkd_cached(workload, "bf16")
    return found
