"""What a student begins with instead of random weights: a bundle, or a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from fdkd_core.atomic_files import sha256_file
from fdkd_core.bundle import load_bundle
from fdkd_core.bundle.folder import WEIGHTS
from fdkd_core.errors import IncompatibleError, ModelFileError, Problem, quote
from fdkd_core.hugging_face.files import is_hugging_face
from fdkd_core.models.base import Backbone
from fdkd_core.spec import ArchitectureSpec, StudentSpec
from fdkd_core.spec.named_models import START_POINTER as POINTER

LAST_LAYER = "classifier."


class StartingWeights:
    """The model that `student.start` names.

    Args:
        spec: The student; `start` is set.
        path: What the reference stands for.

    Raises:
        ModelFileError: It is not a usable bundle or Hugging Face folder.
        IncompatibleError: The spec states another architecture.
    """

    def __init__(self, spec: StudentSpec, path: Path) -> None:
        if not path.is_dir():
            detail = f"{quote(str(spec.start))} is not a bundle or a Hugging Face folder"
            raise ModelFileError(Problem("not_found", detail, POINTER))
        self.modality = spec.modality
        self._path = path
        self._is_hub = is_hugging_face(path)
        self.architecture: ArchitectureSpec
        self.recipe: dict[str, Any] | None
        """By which the column is read; None takes the data's own, for sounds."""
        if self._is_hub:
            from fdkd_core.hugging_face.folder import read_start

            self.architecture, self.recipe = read_start(path)
        else:
            bundle = load_bundle(path)
            self.architecture, self.recipe = bundle.architecture, bundle.recipe
        if spec.architecture not in (None, self.architecture):
            detail = f"`start` holds {quote(self.architecture.model_dump(mode='json'), 160)}; leave this out"
            raise IncompatibleError(Problem("incompatible", detail, "/student/architecture"))
        self.sha256 = sha256_file(path / WEIGHTS)
        self._tensors: dict[str, Tensor] | None = None
        self._classes: list[str] = []
        self.account = ""
        """What was taken, once it was; for people."""

    def load_into(self, model: Backbone, classes: list[str]) -> None:
        """Replaces the weights of a fresh network by those that there are.

        Args:
            model: Of this architecture, for the data's column and classes.
            classes: Of the data; empty where its labels are numbers, whose last layer is always drawn.

        The last layer stays as it was drawn unless its classes are `classes`, and so does what the head of
        another task lacks.

        Raises:
            ModelFileError: The weights do not fit, or are refused.
        """
        if self._tensors is None:
            self._tensors, self._classes = self._read(model)
        state = model.state_dict()
        found = {
            name: tensor
            for name, tensor in self._tensors.items()
            if (classes and self._classes == classes) or not name.startswith(LAST_LAYER)
        }
        model.load_state_dict(state | found)
        drawn = sorted(state.keys() - found.keys())
        self.account = f"the student begins with {len(found)} tensors of the given model" + (
            f"; drawn at random: {', '.join(drawn[:6])}{', ...' if len(drawn) > 6 else ''}" if drawn else ""
        )

    def _read(self, model: Backbone) -> tuple[dict[str, Tensor], list[str]]:
        """Tensors by our names, and the classes that the last layer tells apart; empty if not known."""
        if self._is_hub:
            from fdkd_core.hugging_face.folder import read_start_tensors

            return read_start_tensors(self._path, model.state_dict())
        bundle = load_bundle(self._path)
        return bundle.model.state_dict(), bundle.classes
