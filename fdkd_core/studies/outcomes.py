"""What a job of many trainings has finished, kept so that no restart does it again."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdkd_core.atomic_files import storage_errors, write_atomic, write_json_atomic
from fdkd_core.workspace import Workspace


class Outcomes:
    """A JSON file for each finished training, by the name of its phase, in `work/outcomes`.

    The workspace is bound to the job's spec and data, so that whatever lies here is this job's.
    """

    def __init__(self, workspace: Workspace, *, keep_checkpoints: bool = False) -> None:
        self._workspace = workspace
        self._keep_checkpoints = keep_checkpoints
        self._folder = workspace.checkpoints("outcomes")

    def read(self, phase: str) -> dict[str, Any] | None:
        """What came out of a phase; None when it has not ended."""
        try:
            found: dict[str, Any] = json.loads((self._folder / f"{phase}.json").read_bytes())
        except FileNotFoundError:
            return None
        return found

    def write(self, phase: str, outcome: dict[str, Any], *, checkpoints: str | None = None) -> None:
        """Notes the outcome of a phase, or what was decided before one.

        Args:
            phase: Name of the note.
            outcome: What is noted.
            checkpoints: Folder of the phase's checkpoints, which are not needed after; None has none.

        Raises:
            StorageError: The disk is full or failing.
        """
        self._make()
        write_json_atomic(self._folder / f"{phase}.json", outcome)
        if checkpoints is not None and not self._keep_checkpoints:
            shutil.rmtree(self._workspace.checkpoints(checkpoints), ignore_errors=True)

    def has_begun(self, phase: str) -> bool:
        """Whether a phase has ended, or left a checkpoint."""
        return self.read(phase) is not None or self._workspace.checkpoints(phase).exists()

    def weights_path(self, phase: str) -> Path:
        """Where `write_weights` puts a model."""
        return self._folder / f"{phase}.safetensors"

    def write_weights(self, phase: str, weights: bytes) -> None:
        """Keeps the weights of a phase's model. To be called before the outcome is noted.

        Raises:
            StorageError: The disk is full or failing.
        """
        self._make()
        write_atomic(self.weights_path(phase), weights)

    def write_shares(self, phase: str, shares: NDArray[np.float64]) -> None:
        """Keeps what each row of a split adds to a phase's figure. To be called before the outcome is noted.

        Raises:
            StorageError: The disk is full or failing.
        """
        self._make()
        content = io.BytesIO()
        np.save(content, shares, allow_pickle=False)
        write_atomic(self._shares_path(phase), content.getvalue())

    def read_shares(self, phase: str) -> NDArray[np.float64] | None:
        """What `write_shares` kept; None where there is nothing, as of a training that diverged."""
        path = self._shares_path(phase)
        if not path.exists():
            return None
        found: NDArray[np.float64] = np.load(path, allow_pickle=False)
        return found

    def _shares_path(self, phase: str) -> Path:
        return self._folder / f"{phase}.shares.npy"

    def drop_weights(self, phase: str) -> None:
        """Forgets the weights of a model that will not be handed over."""
        self.weights_path(phase).unlink(missing_ok=True)

    def _make(self) -> None:
        with storage_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
