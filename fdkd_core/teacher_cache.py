"""Outputs of a frozen teacher, kept by the content of all that they depend on.

The studies of a comparison share a teacher, and so do jobs that name the same model; on one machine, the
first computes what it says of the training rows and the others read it. Those that begin at the same moment
wait for it. A file is named by the hash of teacher, data, preprocessing and rows, and of what rounding
depends on (torch, device, threads), so that reading it gives the bits that computing it would. No seed of
augmentation is among them: a teacher sees clean inputs (docs/decisions/0004).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import save as dump_tensors

from fdkd_core.bounded_folder import BoundedFolder
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import StorageError
from fdkd_core.model_figures import identity_of
from fdkd_core.models.base import ModelOutput
from fdkd_core.options import RunOptions
from fdkd_core.phases import Trained
from fdkd_core.training.evaluation import predict_rows

FORMAT_VERSION = 1


class TeacherCache:
    """A folder of teachers' outputs.

    Args:
        folder: Made when first needed; None computes every time.
        max_bytes: Of the whole folder; what was not used longest goes first.
        secret: Seals the files where others can write to the folder; None for a plain checksum.
        warn: Told of a file that was passed over, and of a disk that takes none.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        max_bytes: int = RunOptions.teacher_cache_bytes,
        secret: bytes | None = None,
        warn: Callable[[str], None],
    ) -> None:
        self._folder = None if folder is None or max_bytes == 0 else BoundedFolder(folder, max_bytes)
        self._max_bytes = max_bytes
        self._secret = secret
        self._warn = warn

    def outputs(self, teacher: Trained, data: PairedDataset, device: torch.device) -> ModelOutput:
        """What the teacher says of the taught rows that it has a view of: [P, D] and [P, C], on the CPU.

        Of maps, whose size nobody expects, no more than half the folder is taken: larger ones are computed by
        every job.
        """
        modality, rows = data.modalities[teacher.modality], data.taught_rows
        rows = rows[modality.has(rows)]

        def compute() -> ModelOutput:
            return predict_rows(teacher.model, modality, rows, device)

        if self._folder is None:
            return compute()
        key = outputs_key(teacher, data, rows, device)
        found = self._read(self._folder, key)
        if found is not None:
            return found
        with self._folder.making(_name(key)) as has_waited:
            found = self._read(self._folder, key) if has_waited else None
            if found is None:
                found = compute()
                if not teacher.model.is_dense or sum(part.nbytes for part in found) <= self._max_bytes // 2:
                    self._write(self._folder, key, found)
        return found

    def _read(self, folder: BoundedFolder, key: str) -> ModelOutput | None:
        name = _name(key)
        try:
            with safetensors.safe_open(folder.path / name, framework="pt") as file:
                # Copies: what is checked below is then what is used, whatever becomes of the file.
                found = ModelOutput(file.get_tensor("features").clone(), file.get_tensor("logits").clone())
                seal = (file.metadata() or {}).get("seal", "")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, safetensors.SafetensorError) as error:
            self._warn(f"the cached teacher outputs {name} cannot be read and are dropped: {error}")
            folder.drop(name)
            return None
        if not hmac.compare_digest(seal, self._seal(key, found)):
            self._warn(f"the cached teacher outputs {name} are damaged and are computed again")
            folder.drop(name)
            return None
        folder.mark_used(name)
        return found

    def _write(self, folder: BoundedFolder, key: str, outputs: ModelOutput) -> None:
        tensors = {"features": outputs.features.contiguous(), "logits": outputs.logits.contiguous()}
        try:
            folder.write(_name(key), dump_tensors(tensors, metadata={"seal": self._seal(key, outputs)}))
        except (StorageError, OSError) as error:
            self._warn(f"teacher outputs could not be cached: {error}")

    def _seal(self, key: str, outputs: ModelOutput) -> str:
        digest = hmac.new(self._secret or b"", key.encode(), hashlib.sha256)
        for part in outputs:
            digest.update(repr(tuple(part.shape)).encode() + part.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass
class SharedOutputs:
    """What one teacher says of the training rows, in memory, for the arms of a comparison in one process.

    Those of no other model are kept: a comparison has one untrained twin of its teacher, and asks it once. Of
    maps, memory is planned for one copy: they are let go of where a fake, or the twin, makes others.
    """

    teacher: Trained
    data: PairedDataset
    found: ModelOutput | None = None
    """None until an arm asked for it, and after it was let go of."""

    def outputs(
        self, teacher: Trained, data: PairedDataset, find: Callable[[], ModelOutput], *, is_faked: bool
    ) -> ModelOutput:
        """Those that are kept, where they are of this teacher and these data; else what `find` gives.

        Args:
            teacher: Who is asked.
            data: Of which training rows.
            find: Computes them.
            is_faked: Whether others are made of them.
        """
        is_shared = teacher is self.teacher and data is self.data
        found, is_kept = self.found if is_shared else None, not teacher.model.is_dense
        if not is_shared and not is_kept:
            self.found = None
        if found is None:
            found = find()
        if is_shared:
            self.found = found if is_kept or not is_faked else None
        return found


def _name(key: str) -> str:
    return f"{key}.safetensors"


def outputs_key(teacher: Trained, data: PairedDataset, rows: NDArray[np.int64], device: torch.device) -> str:
    """Hash of everything that the outputs depend on."""
    facts: dict[str, Any] = {
        "version": FORMAT_VERSION,
        **identity_of(teacher),
        "data": data.sha256,
        "column": teacher.modality,
        "recipe": data.modalities[teacher.modality].recipe,
        "rows": hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest(),
        "torch": torch.__version__,
        "device": device.type,
        "threads": torch.get_num_threads(),
    }
    if data.targets is not None:  # answers are on the scale of this job's training rows
        facts["scale"] = [data.targets.mean.tolist(), data.targets.std.tolist()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
