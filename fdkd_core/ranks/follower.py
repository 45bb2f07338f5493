"""`python -m fdkd_core.ranks.follower`: a rank other than 0. It trains what rank 0 says, and says nothing.

It has no files of its own to write, asks for no stop and evaluates nothing. What goes wrong here is told by a
line of JSON on standard output, from which rank 0 raises the same error.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from fdkd_core.errors import FDKDError, TrainingDivergedError
from fdkd_core.memory_limit import memory_errors
from fdkd_core.parent_death import die_with_parent


def main(arguments: list[str] | None = None) -> int:
    """Follows until rank 0 says that the run is over; returns the exit code."""
    options = _parser().parse_args(arguments)
    die_with_parent(options.parent_pid)
    # Those are for rank 0, which ends this process or dies with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        follow(options.folder, options.rank, options.size, options.device, options.threads)
    except FDKDError as error:
        sys.stdout.write(json.dumps({"code": error.code, "message": str(error)}) + "\n")
        sys.stdout.flush()
        return error.exit_code
    return 0


@memory_errors()
def follow(folder: Path, rank: int, size: int, device_name: str, threads: int) -> None:
    """Trains what rank 0 trains, in step.

    Args:
        folder: See `handout`.
        rank: Of this process, from 1.
        size: Number of processes.
        device_name: Where to train.
        threads: Of torch.
    """
    import torch

    from fdkd_core.phases import make_trainee
    from fdkd_core.ranks.crew_process import join
    from fdkd_core.ranks.group import PHASE, RUN_ENDS
    from fdkd_core.ranks.handout import PhaseHandout, read_data
    from fdkd_core.training.execution import apply_execution
    from fdkd_core.training.loop import follow_steps

    torch.set_num_threads(threads)
    device = torch.device(device_name)
    ranks = join(folder, rank, size, device)
    data = read_data(folder)
    while True:
        word, number = ranks.hear()
        if word == RUN_ENDS:
            return
        if word != PHASE:
            continue  # the end of a phase whose steps ended with an error on all ranks
        handout = PhaseHandout(folder, number)
        trainee = make_trainee(handout.phase(), handout.with_splits(data), device)
        state = handout.begin(trainee)
        apply_execution(trainee, handout.execution)
        trainee.ranks = ranks
        try:
            follow_steps(trainee, state.step, ranks)
        except TrainingDivergedError:
            continue  # rank 0 raises the same, and decides what follows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fdkd_core.ranks.follower", allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
