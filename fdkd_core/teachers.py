"""A teacher that is given instead of trained: a bundle folder, or safetensors beside an architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fdkd_core.atomic_files import sha256_file
from fdkd_core.bundle import Bundle, load_bundle
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import IncompatibleError, ModelFileError, Problem, quote
from fdkd_core.model_report import bundle_report, weights_report
from fdkd_core.models import build_model
from fdkd_core.models.base import Backbone
from fdkd_core.models.weights import load_weights
from fdkd_core.phases import vocab_size
from fdkd_core.spec import ArchitectureSpec, TeacherSpec
from fdkd_core.spec.compatibility import stated_architecture_problems


class GivenTeacher:
    """A model file or bundle named by `teacher.model`.

    Args:
        spec: The teacher part of the spec; `spec.model` is set.
        path: What the reference stands for.
        pointer: Where the teacher stands in the spec.

    Raises:
        ModelFileError: It is not a usable bundle, or a weights file without an architecture.
        IncompatibleError: The spec states another architecture than the bundle's.
    """

    def __init__(self, spec: TeacherSpec, path: Path, pointer: str = "/teacher") -> None:
        self._path = path
        self._pointer = pointer
        self.modality = spec.modality
        self._bundle: Bundle | None = None
        if not path.exists():
            raise ModelFileError(
                Problem("not_found", f"the model {quote(str(spec.model))} does not exist", f"{pointer}/model")
            )
        if path.is_dir():
            self._bundle = load_bundle(path)
            self.report = bundle_report(self._bundle)
            problems = stated_architecture_problems(spec, self.report, pointer)
            if problems:
                raise IncompatibleError(problems)
            self.architecture: ArchitectureSpec = self._bundle.architecture
            self.sha256 = sha256_file(path / "model.safetensors")
        else:
            if spec.architecture is None:
                raise ModelFileError(stated_architecture_problems(spec, {"modality_kind": None}, pointer))
            self.architecture = spec.architecture
            self.report = weights_report(path, spec.architecture)
            self.sha256 = sha256_file(path)

    @property
    def recipe(self) -> dict[str, Any] | None:
        """The bundle's preprocessing, which the data must go through; None for a bare weights file."""
        return self._bundle.recipe if self._bundle else None

    def load(self, data: PairedDataset) -> Backbone:
        """The teacher, which `compatibility.check` has found to fit the dataset.

        Raises:
            ModelFileError: The weights do not fit the architecture.
        """
        if self._bundle is not None:
            return self._bundle.model
        model = build_model(
            self.architecture,
            tuple(data.modalities[self.modality].recipe["input_shape"]),
            len(data.classes),
            vocab_size(data, self.modality),
            pointer=f"{self._pointer}/architecture",
        )
        load_weights(self._path, model)
        return model
