"""What a student begins with instead of random weights: a bundle, or a Hugging Face folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fdkd_core.atomic_files import sha256_file
from fdkd_core.bundle import load_bundle
from fdkd_core.bundle.folder import WEIGHTS
from fdkd_core.errors import IncompatibleError, ModelFileError, Problem, quote
from fdkd_core.hugging_face.files import is_hugging_face
from fdkd_core.hugging_face.folder import ENCODER, StartTensors, read_start, read_start_tensors
from fdkd_core.modalities.preprocessor import Preprocessor
from fdkd_core.models.base import Backbone
from fdkd_core.spec import ArchitectureSpec, StudentSpec
from fdkd_core.spec.named_models import START_POINTER as POINTER
from fdkd_core.spec.student_start import begun_architecture, stated_problems
from fdkd_core.spec.tasks import ClassificationSpec, TaskSpec

LAST_LAYER = "classifier."
_CLASSIFICATION = ClassificationSpec()


class StartingWeights:
    """The model that `student.start` names.

    Args:
        spec: The student; `start` is set.
        path: What the reference stands for.
        task: Of the job, which may make another network of a model's encoder.

    Raises:
        ModelFileError: It is not a usable bundle or Hugging Face folder.
        IncompatibleError: The spec states another architecture.
    """

    def __init__(self, spec: StudentSpec, path: Path, task: TaskSpec = _CLASSIFICATION) -> None:
        if not path.is_dir():
            detail = f"{quote(str(spec.start))} is not a bundle or a Hugging Face folder"
            raise ModelFileError(Problem("not_found", detail, POINTER))
        self.modality = spec.modality
        self._path = path
        self._is_hub = is_hugging_face(path)
        held: ArchitectureSpec
        self.recipe: dict[str, Any] | None
        """By which the column is read; None takes the data's own, for sounds."""
        if self._is_hub:
            held, self.recipe = read_start(path)
        else:
            bundle = load_bundle(path)
            held, self.recipe = bundle.architecture, bundle.recipe
        self.architecture = begun_architecture(task, spec.architecture, held)
        refused = stated_problems(spec.architecture, self.architecture)
        if refused:
            raise IncompatibleError(refused)
        self._has_other_head = self.architecture is not held
        if self._has_other_head and self.recipe is not None:
            self.recipe = _without_cut(self.recipe)
        self.sha256 = sha256_file(path / WEIGHTS)
        self._read: StartTensors | None = None
        self.account = ""
        """What was taken and what was not, once it was; for people."""

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
        if self._read is None:
            self._read = self._read_tensors(model)
        state = model.state_dict()
        found = {
            name: tensor
            for name, tensor in self._read.tensors.items()
            if (classes and self._read.classes == classes) or not name.startswith(LAST_LAYER)
        }
        model.load_state_dict(state | found)
        left_out = [*self._read.left_out, *sorted(self._read.tensors.keys() - found.keys())]
        self.account = f"the student begins with {len(found)} tensors of the given model"
        for words, names in (
            ("left out of it", left_out),
            ("drawn at random", sorted(state.keys() - found.keys())),
        ):
            if names:
                shown = ", ".join(name[:100] for name in names[:6])
                self.account += f"; {words}: {shown}{', ...' if len(names) > 6 else ''}"

    def _read_tensors(self, model: Backbone) -> StartTensors:
        expected = model.state_dict()
        if self._is_hub:
            try:
                return read_start_tensors(self._path, expected, encoder_only=self._has_other_head)
            except ModelFileError as error:
                raise ModelFileError(
                    replace(found, pointer=found.pointer or POINTER) for found in error.problems
                ) from None
        bundle = load_bundle(self._path)
        tensors = bundle.model.state_dict()
        if not self._has_other_head:
            return StartTensors(tensors, bundle.classes, [])
        taken = {name: tensor for name, tensor in tensors.items() if name.startswith(ENCODER)}
        taken = {name: tensor for name, tensor in taken.items() if name in expected}
        return StartTensors(taken, [], sorted(tensors.keys() - taken.keys()))


def _without_cut(recipe: dict[str, Any]) -> dict[str, Any]:
    """The preprocessing that scales both sides of a picture on their own where it cut the middle.

    Mean and deviation are what the encoder is used to; where in a picture something lies is asked only now,
    and masks show all of it.
    """
    if recipe.get("shortest_edge") is None:
        return recipe
    height, width = recipe["input_shape"][1:]
    note = f"size: all of a picture as {height} x {width} pixels, of which the given model cut the middle"
    kept = {key: value for key, value in recipe.items() if key != "shortest_edge"}
    return Preprocessor(kept | {"notes": [*recipe["notes"], note]}).to_json()
