"""How much memory may be used, and the one error for all the ways of running out of it."""

from __future__ import annotations

import contextlib
import errno
import resource
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fdkd_core.errors import OutOfMemoryError, quote
from fdkd_core.spec.cost import USABLE_FRAC, machine_memory_bytes

if TYPE_CHECKING:
    import torch

_ALLOCATION_FAILURES = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")
"""What the RuntimeError of torch's allocator for the CPU says, by version."""


def device_memory_bytes(device: torch.device) -> int:
    """Memory of the device that trains: of the GPU, or of the machine."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_properties(device).total_memory
    return machine_memory_bytes()


def limit_own_memory() -> None:
    """Lets allocations of this process fail before the whole machine runs out of memory.

    Only memory that the process writes to counts, not files that it maps. A lower limit stays.
    """
    usable = int(USABLE_FRAC * machine_memory_bytes())
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > usable:
        resource.setrlimit(resource.RLIMIT_DATA, (usable, hard))


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turns every failed allocation into OutOfMemoryError; other errors pass unchanged."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not _is_failed_allocation(error):
            raise
        # Whatever the failed calls still hold is what is missing for saying so.
        traceback.clear_frames(error.__traceback__)
        reason = quote(str(error).partition("\n")[0], 200) if str(error) else "an allocation failed"
        raise OutOfMemoryError(f"{OutOfMemoryError.__doc__} ({reason})") from None


def _is_failed_allocation(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM  # of mmap and fork
    # By name, so that whoever has not imported torch need not: torch.OutOfMemoryError is of the GPU.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(text in str(error) for text in _ALLOCATION_FAILURES)
    )
