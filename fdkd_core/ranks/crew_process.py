"""The processes that train together, as rank 0 has them: started, told what to train, watched, ended.

Not torchrun's agent: it starts ranks again on its own, where here the worker decides about attempts, and it
would stand between the worker and rank 0, whose pipe, exit code and signals are the worker's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from fdkd_core.atomic_files import storage_errors
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import FDKDError, OutOfMemoryError, StorageError
from fdkd_core.phases import Phase
from fdkd_core.ranks.group import PHASE, RUN_ENDS, SeveralRanks
from fdkd_core.ranks.handout import remove_phase, write_data, write_phase
from fdkd_core.training.loop import LoopState, Trainee

JOIN_TIMEOUT = timedelta(minutes=10)
"""For the processes to import torch and find each other, and for one sum of gradients: a GPU that is busy for
longer is stuck."""
WORD_TIMEOUT = timedelta(days=7)
"""Followers wait for the next word while rank 0 tests, exports, or waits for a disk."""
NOTICE_S = 30.0
"""Rank 0 notices by its next exchange that a rank has died. Where that is stuck on a GPU it never does, and
the run is ended after this time."""
CAUSE_S = 5.0
"""For a follower to end, once an exchange with it has failed, and to say why."""
GOODBYE_S = 1.0
"""For all followers to end by themselves, when told that the run is over. They have nothing to save."""
_TOLD: dict[str, type[FDKDError]] = {error.code: error for error in (OutOfMemoryError, StorageError)}


def join(folder: Path, rank: int, size: int, device: torch.device) -> SeveralRanks:
    """Makes this process one of the ranks; returns when all have joined."""
    # Loopback: all ranks are on one machine, and nobody else has business with them.
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    store = distributed.FileStore(str(folder / "store"), size)  # type: ignore[attr-defined]
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.index is not None:
        torch.cuda.set_device(device)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=JOIN_TIMEOUT)
    words = distributed.new_group(backend="gloo", timeout=WORD_TIMEOUT)
    assert isinstance(words, distributed.ProcessGroup)
    return SeveralRanks(rank, size, words)


class Crew:
    """Rank 0 and its followers, for one run. Followers are started with the first phase.

    Args:
        size: Processes that train together, at least 2.
        folder: For what is handed out; emptied now.
        data: That every phase trains on, each by splits of its own.
        device: Of rank 0; on GPUs rank r takes the r-th.
        threads: Of torch, in each process.
        on_stuck: Is called in a thread when a rank has died and this one does not come back from an exchange
            with it: it must end the process.
    """

    def __init__(
        self,
        size: int,
        folder: Path,
        data: PairedDataset,
        device: torch.device,
        threads: int,
        on_stuck: Callable[[Exception], None],
    ) -> None:
        self.size = size
        self._folder, self._data, self._device, self._threads = folder, data, device, threads
        self._on_stuck = on_stuck
        self._followers: list[_Follower] = []
        self._ranks: SeveralRanks | None = None
        self._number = 0
        self._in_phase = threading.Event()
        self._closed = threading.Event()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.close(is_orderly=kind is None or issubclass(kind, FDKDError))

    @contextmanager
    def train(self, phase: Phase, data: PairedDataset, trainee: Trainee, state: LoopState) -> Iterator[None]:
        """Around a call of `fit`: all ranks train the phase.

        Args:
            phase: What is trained.
            data: That of the run, whose splits may be others: those of a fold.
            trainee: Ready to be trained.
            state: Where it begins.

        Raises:
            FDKDError: What ended another rank.
            RuntimeError: Another rank ended for reasons that are nobody's doing.
        """
        try:
            if self._ranks is None:
                self._ranks = self._start()
            self._number += 1
            write_phase(self._folder, self._number, phase, data, trainee, state)
            self._ranks.say(PHASE, self._number)
            trainee.ranks = self._ranks
            self._in_phase.set()
            yield
        except FDKDError:
            raise
        except RuntimeError as error:
            cause = self._cause_of(error)
            if cause is error:
                raise
            raise cause from error
        finally:
            self._in_phase.clear()
            remove_phase(self._folder, self._number)

    def close(self, *, is_orderly: bool) -> None:
        """Ends the followers, at once where they cannot be told."""
        self._closed.set()
        if self._ranks is not None:
            if is_orderly and all(follower.is_alive for follower in self._followers):
                with contextlib.suppress(RuntimeError):
                    self._ranks.say(RUN_ENDS)
                until = time.monotonic() + GOODBYE_S
                for follower in self._followers:
                    follower.wait(max(0.0, until - time.monotonic()))
            self._ranks = None
        for follower in self._followers:
            follower.end()
        self._followers = []
        if distributed.is_initialized():
            distributed.destroy_process_group()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> SeveralRanks:
        shutil.rmtree(self._folder, ignore_errors=True)
        with storage_errors():
            self._folder.mkdir(parents=True)
        write_data(self._folder, self._data)
        for rank in range(1, self.size):
            self._followers.append(self._start_follower(rank))
        return join(self._folder, 0, self.size, self._device)

    def _start_follower(self, rank: int) -> _Follower:
        device = f"cuda:{rank}" if self._device.type == "cuda" else "cpu"
        command = [
            sys.executable, "-m", "fdkd_core.ranks.follower", str(self._folder.absolute()),
            "--rank", str(rank), "--size", str(self.size), "--device", device,
            "--threads", str(self._threads), "--parent-pid", str(os.getpid()),
        ]  # fmt: skip
        follower = _Follower(rank, command)
        watch = threading.Thread(target=self._watch, args=(follower,), name=f"watch-{rank}", daemon=True)
        watch.start()
        return follower

    def _watch(self, follower: _Follower) -> None:
        """Ends a run that would wait for ever for a rank that is gone."""
        follower.wait(None)
        until = time.monotonic() + NOTICE_S
        while not self._closed.is_set() and self._in_phase.is_set():
            if time.monotonic() > until:
                self._on_stuck(follower.error())
                return
            self._closed.wait(0.2)

    def _cause_of(self, error: RuntimeError) -> Exception:
        """Why an exchange between the ranks failed: the error that ended one of them, if one ended."""
        until = time.monotonic() + CAUSE_S
        while time.monotonic() < until:
            for follower in self._followers:
                if not follower.is_alive:
                    return follower.error()
            if not _is_of_exchange(error):
                break
            time.sleep(0.05)
        return error


class _Follower:
    """Another rank."""

    def __init__(self, rank: int, command: list[str]) -> None:
        self._rank = rank
        # In our process group, so that whoever ends that ends the rank; its errors go where ours go.
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float | None) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def error(self) -> Exception:
        """What ended it, as it says itself."""
        assert self._process.stdout is not None
        status = self._process.wait()
        with contextlib.suppress(ValueError, LookupError, TypeError):
            told = json.loads(self._process.stdout.read(1 << 16).splitlines()[-1])
            return _TOLD[told["code"]](told["message"])
        how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return RuntimeError(f"process {self._rank} of the training {how}")


def _is_of_exchange(error: RuntimeError) -> bool:
    """Whether it is what a process group says when its other end is gone."""
    return isinstance(error, distributed.DistError) or any(
        word in str(error).lower() for word in ("gloo", "nccl", "connection", "peer", "socket")
    )
