"""Checkpoints: everything a resume needs, so written that a half one is never taken for a whole one.

A checkpoint is a folder `step-NNNNNNNNNN` with `state.safetensors`, `state.json` and `manifest.json`. It is
filled under a temporary name, each file flushed to disk, the manifest last, and then renamed. The manifest
carries the size and SHA-256 of each file (neither safetensors nor a filesystem notices a flipped bit) and the
run's key, so that a checkpoint of another spec, other data or another phase is refused. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from fdkd_core.atomic_files import fsync_folder, storage_errors, write_atomic, write_json_atomic
from fdkd_core.errors import CheckpointError
from fdkd_core.spec.execution import ExecutionReport
from fdkd_core.training.loop import LoopState, Trainee
from fdkd_core.training.randomness import random_state, restore_random_state

FORMAT_VERSION = 1
KEEP = 2
"""Checkpoints kept per phase: the newest, and the one before in case the newest turns out damaged."""
MIN_COST_RATIO = 30.0
"""A checkpoint may be taken once training has run this many times as long as the last one took to write:
at most about 3 % of the time goes into checkpoints, however large the model or slow the disk."""


class CheckpointStore:
    """The checkpoints of one phase of one run.

    Args:
        folder: Where they live; made when first needed.
        key: Identity of the run and phase: a checkpoint with another key is refused.
        secret: Signs manifests where the folder is not trusted; None for a plain checksum.
        warn: Told of every checkpoint that was passed over.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        *,
        secret: bytes | None = None,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._folder = folder
        self._key = key
        self._secret = secret
        self._warn = warn
        self._last_step: int | None = None
        self._last_time = time.monotonic()
        self._last_cost_s = 0.0

    def save_if_due(self, trainee: Trainee, state: LoopState, *, must: bool) -> bool:
        """Saves when the spec's interval in steps or seconds has passed, or when it must.

        Returns:
            Whether a checkpoint was written.

        Raises:
            StorageError: The disk is full or refuses to write; the older checkpoints are untouched.
        """
        now = time.monotonic()
        elapsed_s = now - self._last_time
        due = (
            state.step - (self._last_step or 0) >= trainee.spec.checkpoint_every_steps
            or elapsed_s >= trainee.spec.checkpoint_every_s
        ) and elapsed_s >= MIN_COST_RATIO * self._last_cost_s
        if not (due or must) or self._last_step == state.step:
            return False
        self._save(trainee, state)
        self._last_step, self._last_time = state.step, time.monotonic()
        self._last_cost_s = self._last_time - now
        return True

    def restore(self, trainee: Trainee) -> LoopState:
        """Puts the newest usable checkpoint into the trainee; a fresh state when there is none.

        Damaged checkpoints are passed over with a warning, in favour of the one before.

        Raises:
            CheckpointError: A checkpoint is whole but belongs to another run.
        """
        for path in sorted(self._folder.glob("step-*"), reverse=True):
            try:
                tensors, document = self._read(path)
            except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
                self._warn(f"checkpoint {path.name} is damaged and was passed over: {error}")
                continue
            state = unpack(trainee, tensors, document)
            self._last_step = state.step
            if document["threads"] != torch.get_num_threads():
                self._warn(
                    f"resuming with {torch.get_num_threads()} threads what began with {document['threads']}: "
                    "sums round differently, so the result will not be bit-identical to an uninterrupted run"
                )
            return state
        return LoopState()

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:010d}"

    def _save(self, trainee: Trainee, state: LoopState) -> None:
        tensors, document = pack(trainee, state)
        files = {
            "state.safetensors": dump_tensors(tensors),
            "state.json": json.dumps(document, sort_keys=True).encode(),
        }
        manifest = {
            "format_version": FORMAT_VERSION,
            "key": self._key,
            "step": state.step,
            "torch": torch.__version__,
            "files": {
                name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for name, data in files.items()
            },
        }
        temporary = self._folder / f"tmp-{os.getpid()}"
        target = self._path(state.step)
        try:
            with storage_errors():
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
                for name, data in files.items():
                    write_atomic(temporary / name, data)
                write_json_atomic(temporary / "manifest.json", {**manifest, "seal": self._seal(manifest)})
                shutil.rmtree(target, ignore_errors=True)  # a damaged one that was passed over
                temporary.rename(target)
                fsync_folder(self._folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        for old in sorted(self._folder.glob("step-*"), reverse=True)[KEEP:]:
            shutil.rmtree(old, ignore_errors=True)
        for leftover in self._folder.glob("tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        manifest = json.loads((path / "manifest.json").read_bytes())
        seal = manifest.pop("seal")
        if not hmac.compare_digest(seal, self._seal(manifest)):
            raise ValueError("the manifest's seal does not match")
        contents = {}
        for name in ("state.safetensors", "state.json"):
            contents[name] = (path / name).read_bytes()
            if hashlib.sha256(contents[name]).hexdigest() != manifest["files"][name]["sha256"]:
                raise ValueError(f"{name} does not match its checksum")
        if manifest["format_version"] != FORMAT_VERSION or manifest["key"] != self._key:
            raise CheckpointError(
                f"{path} belongs to another run (other spec, data or release); use another output folder"
            )
        return load_tensors(contents["state.safetensors"]), json.loads(contents["state.json"])

    def _seal(self, manifest: Mapping[str, Any]) -> str:
        text = json.dumps(manifest, sort_keys=True).encode()
        return hmac.new(self._secret or b"", text, hashlib.sha256).hexdigest()


def pack(trainee: Trainee, state: LoopState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that a resume needs: tensors, and a JSON document of the rest."""
    tensors = {f"model/{name}": tensor for name, tensor in trainee.model.state_dict().items()}
    tensors |= {f"method/{name}": tensor for name, tensor in trainee.method.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best_weights.items()}
    tensors |= {f"random/{name}": tensor for name, tensor in random_state().items()}
    slots: dict[str, dict[str, Any]] = {}
    for index, slot in trainee.optimizer.state_dict()["state"].items():
        slots[str(index)] = {}
        for name, value in slot.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                slots[str(index)][name] = value
    loop = asdict(state)
    del loop["best_weights"]
    loop["execution"] = state.execution and state.execution.model_dump(mode="json")
    # -inf, the value before any validation, has no JSON form.
    loop["best_value"] = None if np.isinf(state.best_value) else state.best_value
    document = {"loop": loop, "optimizer": slots, "threads": torch.get_num_threads()}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, document


def unpack(trainee: Trainee, tensors: dict[str, Tensor], document: dict[str, Any]) -> LoopState:
    """Puts back into a trainee what `pack` took, and returns the state."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = tensor
    trainee.model.load_state_dict(parts["model"])
    trainee.method.load_state_dict(parts.get("method", {}))
    slots: dict[int, dict[str, Any]] = {int(i): dict(slot) for i, slot in document["optimizer"].items()}
    for name, tensor in parts.get("optimizer", {}).items():
        index, _, rest = name.partition("/")
        slots[int(index)][rest] = tensor
    groups = trainee.optimizer.state_dict()["param_groups"]
    trainee.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    restore_random_state(parts["random"])
    loop = document["loop"]
    if loop["best_value"] is None:
        del loop["best_value"]
    if loop.get("execution") is not None:
        loop["execution"] = ExecutionReport.model_validate(loop["execution"])
    return LoopState(**loop, best_weights=parts.get("best", {}))
