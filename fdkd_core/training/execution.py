"""Choosing how a network's steps are computed: as stated, or by a short probe on GPUs.

Nothing is chosen by time on a CPU, so that equal jobs give equal results there. On a GPU the choice depends
on the machine and the moment; it is kept in the checkpoint, so that a resume goes on in the same way.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import torch

from fdkd_core.memory_layout import is_channels_last
from fdkd_core.spec import TrainingSpec
from fdkd_core.spec.execution import Execution, ExecutionReport, TimedExecution
from fdkd_core.training.loop import Trainee, train_step
from fdkd_core.training.randomness import random_state, restore_random_state

WARM_UP_STEPS = 3
"""The first step allocates, the next two let cuDNN settle."""
MIN_TIMED_STEPS, MAX_TIMED_STEPS = 5, 20
TIME_S = 0.5
"""Of one way; steps of a slow network still get `MIN_TIMED_STEPS`."""
MIN_TRAINING_S = 60.0
"""Trainings that are shorter than this are not worth a probe of seconds."""
MIN_TRAINING_TO_COMPILE_S = 900.0
"""Nor are those shorter than this worth the minute that compiling takes."""
MIN_GAIN = 0.05
"""By which a step must be shorter than the best so far: less is noise."""

TimeStep = Callable[[Execution], float]
"""Seconds of a step when it is computed so."""


def choose_execution(trainee: Trainee, make: Callable[[], Trainee], *, processes: int = 1) -> ExecutionReport:
    """How a training is computed.

    Args:
        trainee: About to be trained; only looked at.
        make: Makes another like it, to be tried and thrown away.
        processes: That will train it. A network of several is never compiled: its gradients would be added up
            only when all of them are there.

    Returns:
        The choice. torch's generators are as they were.
    """
    spec, device = trainee.spec, trainee.device
    plain = Execution(
        precision="fp32" if spec.precision == "auto" else spec.precision,
        channels_last=is_channels_last(trainee.model),
    )
    if device.type == "cpu" and spec.compile != "on":
        return ExecutionReport(chosen=plain, reason="A CPU computes in the plain way; nothing was tried.")
    before = random_state()
    try:
        return probe(
            plain,
            candidates(spec, plain, on_gpu=device.type == "cuda"),
            lambda execution: time_step(execution, make),
            compile_network="off" if processes > 1 else spec.compile,
            total_steps=trainee.total_steps,
        )
    finally:
        restore_random_state(before)


def candidates(spec: TrainingSpec, plain: Execution, *, on_gpu: bool) -> list[Execution]:
    """What may be chosen beside the plain way, not compiled."""
    if not on_gpu:
        return []
    has_bf16 = spec.precision == "auto" and torch.cuda.is_bf16_supported(including_emulation=False)
    precisions = [plain.precision, "bf16"] if has_bf16 else [plain.precision]
    ways = [
        Execution.model_validate({"precision": precision, "channels_last": layout})
        for precision, layout in itertools.product(precisions, (False, True))
    ]
    return [way for way in ways if way != plain]


def probe(
    plain: Execution,
    others: list[Execution],
    time_of: TimeStep,
    *,
    compile_network: str,
    total_steps: int,
) -> ExecutionReport:
    """Times the ways in turn and takes the fastest: never one that was slower than the plain way.

    Args:
        plain: What needs no reason.
        others: What is tried beside it, if the training is long enough.
        time_of: Times one of them; RuntimeError where it does not work.
        compile_network: `auto`, `on` or `off`.
        total_steps: Of the training.
    """
    started = time.monotonic()
    measured = [_timed(plain, time_of)]
    best = measured[0]

    def report(reason: str) -> ExecutionReport:
        taken = time.monotonic() - started
        return ExecutionReport(chosen=best.execution, reason=reason, measured=measured, probe_s=taken)

    def left_s() -> float:
        return total_steps * (best.step_s or 0.0)

    if best.step_s is None:
        return report("The plain way could not be timed.")
    if left_s() >= MIN_TRAINING_S:
        for other in others:
            measured.append(_timed(other, time_of))
            best = _better(measured[-1], best)
    compiled = best.execution.model_copy(update={"compiled": True})
    if compile_network == "on":
        measured.append(_timed(compiled, time_of))
        if measured[-1].step_s is None:
            return report("Compiling was asked for and did not work here.")
        best = measured[-1]
        return report("Compiled, as was asked for.")
    if compile_network == "auto" and left_s() >= MIN_TRAINING_TO_COMPILE_S:
        measured.append(_timed(compiled, time_of))
        best = _better(measured[-1], best)
    if len(measured) == 1:
        return report(f"The training is too short for a probe to pay ({left_s():.0f} s).")
    return report(f"The fastest of {len(measured)} ways: {best.execution.words}.")


def time_step(execution: Execution, make: Callable[[], Trainee]) -> float:
    """Median seconds of a step of a trainee that is thrown away afterwards."""
    trainee = make()
    apply_execution(trainee, execution)
    trainee.model.train()
    batches = [trainee.batches.batch(step) for step in range(min(2, trainee.total_steps))]
    taken: list[float] = []
    began = time.monotonic()
    for number in itertools.count():
        started = time.perf_counter()
        # At rate 0 no weight moves, so that no spec can diverge here.
        train_step(trainee, batches[number % len(batches)], lr=0.0, step=number % trainee.total_steps)
        if trainee.device.type == "cuda":
            torch.cuda.synchronize(trainee.device)
        if number >= WARM_UP_STEPS:
            taken.append(time.perf_counter() - started)
        else:
            began = time.monotonic()  # compiling is part of the first steps
        is_enough = len(taken) >= MAX_TIMED_STEPS or time.monotonic() - began > TIME_S
        if len(taken) >= MIN_TIMED_STEPS and is_enough:
            break
    return statistics.median(taken)


def apply_execution(trainee: Trainee, execution: Execution) -> None:
    """Has a trainee compute its steps so."""
    trainee.execution = execution
    if execution.channels_last:
        trainee.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainee.network = torch.compile(trainee.model) if execution.compiled else trainee.model


def _timed(execution: Execution, time_of: TimeStep) -> TimedExecution:
    try:
        return TimedExecution(execution=execution, step_s=time_of(execution))
    except RuntimeError:  # no compiler, no memory, no kernel
        return TimedExecution(execution=execution, step_s=None)


def _better(new: TimedExecution, best: TimedExecution) -> TimedExecution:
    assert best.step_s is not None
    return new if new.step_s is not None and new.step_s < (1.0 - MIN_GAIN) * best.step_s else best
