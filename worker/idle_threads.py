"""How long torch's threads spin before they sleep, where a core that waits could be another training's.

Between two parallel regions GNU OpenMP, which torch is built with on Linux, spins for 300,000 turns, about
ten milliseconds: nearly always until the next region. Alone that costs nothing. Trainings that share the
cores wait for each other's spinning threads, three of them twice as long as they need to; with a thousand
turns they are as fast alone, and hardly do (`benchmarks/speed/results/shared_cores.md`). The core reads no
environment, so `python -m fdkd_core` is left as its caller has it.
"""

from __future__ import annotations

from collections.abc import Mapping

SPIN_TURNS = 1000
_CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def idle_thread_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of a process before it imports torch; nothing where that is chosen."""
    if any(name in environment for name in _CHOICES):
        return {}
    return {"GOMP_SPINCOUNT": str(SPIN_TURNS)}
