"""How many GPUs this worker can give to one job, told without torch: only trainers may touch a GPU."""

from __future__ import annotations

import os
from pathlib import Path

from service.settings import Settings

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Of NVIDIA's kernel module: a folder for each GPU."""


def gpus_for_a_job(settings: Settings) -> int:
    """GPUs that a job of this worker may use at once; 0 where it trains on the CPU.

    Jobs of several slots would take the same GPUs: then each is given one.
    """
    if settings.worker_gpus is not None:
        return settings.worker_gpus
    if settings.device == "cpu":
        return 0
    found = count_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), DRIVER)
    is_bound_to_one = settings.worker_slots > 1 or ":" in settings.device
    return min(found, 1) if is_bound_to_one else found


def count_gpus(visible: str | None, driver: Path) -> int:
    """GPUs that a process may see.

    Args:
        visible: CUDA_VISIBLE_DEVICES: names or numbers with commas, of which CUDA takes those before the
            first that is none; None where it is not set.
        driver: See `DRIVER`.
    """
    there = len(list(driver.iterdir())) if driver.is_dir() else 0
    if visible is None:
        return there
    named = 0
    for name in visible.split(","):
        if name.strip() in ("", "-1"):
            break
        named += 1
    return min(named, there)
