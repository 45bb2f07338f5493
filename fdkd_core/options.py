"""Where and with what a run works, as opposed to what it is asked for (`fdkd_core.spec`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fdkd_core.errors import Problem, SpecError, quote

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RunOptions:
    """Where and with what a run works. None of it changes what is asked for."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto`: the first GPU if there is one."""
    threads: int | None = None
    """CPU threads of torch, of all processes together; null takes the usable cores. A resume is
    bit-identical only with the same."""
    processes: int | None = None
    """Processes that train each model together; null takes the `resources.gpus` of the spec. On a CPU more
    than one is for trying out what is meant for GPUs: threads divide the same cores better."""
    manifest: str | None = None
    """Manifest of the dataset to read, where it ships several."""
    models: Mapping[str, Path] = field(default_factory=dict)
    """What each model reference of the spec stands for."""
    checkpoint_secret: bytes | None = None
    """Signs checkpoints, for folders that others can write to."""
    keep_checkpoints: bool = False
    cache_dir: Path | None = None
    """Where decoded columns too large for memory are kept during the run."""
    decode_workers: int | None = None
    """Processes that decode; null chooses by the amount of data."""
    teacher_cache_dir: Path | None = None
    """Where a teacher's outputs are kept, so that the next job with the same teacher and data need not
    compute them again; see `fdkd_core.teacher_cache`. May be emptied at any time."""
    teacher_cache_bytes: int = 4 << 30
    """Room for them; what was not used longest goes first, and 0 keeps none. Outputs of 50 000 rows with 512
    features and 100 classes take 122 MB: there is room for some thirty such datasets."""
    arm_results: Path | None = None
    """Of a comparison: results of its arms, which were run elsewhere; see `fdkd_core.studies.arm_results`.
    Then the data are not read, and nothing is trained."""


def prepare_torch(options: RunOptions, processes: int = 1) -> tuple[torch.device, int]:
    """Chooses device and thread count, and sets torch to them.

    Args:
        options: As given.
        processes: That share the threads, and need a GPU each if any.

    Raises:
        SpecError: GPUs were asked for that are not there.
    """
    import torch  # seconds, which the options of a command line must not wait for

    threads = max(1, (options.threads or len(os.sched_getaffinity(0))) // processes)
    torch.set_num_threads(threads)
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise SpecError(
            Problem("not_allowed", f"found the device {quote(name)}; cpu, cuda, cuda:N and auto are known")
        )
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SpecError(
            Problem("not_available", f"the device {quote(name)} was asked for, but there is no GPU")
        )
    if processes > 1:
        _check_gpus(options, device, processes)
    return device, threads


def _check_gpus(options: RunOptions, device: torch.device, processes: int) -> None:
    """Refuses several processes where each cannot have a GPU, unless the CPU was asked for.

    Raises:
        SpecError: There are too few.
    """
    import torch

    pointer = None if options.processes else "/resources/gpus"
    if device.type == "cpu":
        # `auto` means the GPUs that the spec asks for; one CPU in their place would take days.
        if options.device == "cpu" or options.processes:
            return
        found = 0
    elif device.index is not None:
        detail = f"the device {device} is one GPU; {processes} processes need one each"
        raise SpecError(Problem("not_available", detail, pointer))
    else:
        found = torch.cuda.device_count()
    if found < processes:
        detail = f"{processes} GPUs were asked for; this machine has {found}"
        raise SpecError(Problem("not_available", detail, pointer))
