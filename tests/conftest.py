"""One thread per process: the runner already uses every core, and threads that wait for each other spin."""

from __future__ import annotations

import os

# Before torch is imported, here and in every process that a test starts.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
