"""A teacher that is given instead of trained: a bundle, a Hugging Face folder, ONNX, or safetensors."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fdkd_core.atomic_files import sha256_file
from fdkd_core.bundle import Bundle, load_bundle
from fdkd_core.bundle.regular_file import read_limited
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import IncompatibleError, ModelFileError, Problem, quote
from fdkd_core.hugging_face.files import is_hugging_face
from fdkd_core.model_report import bundle_report, weights_report
from fdkd_core.models import build_model
from fdkd_core.models.base import Backbone
from fdkd_core.models.onnx_teacher import OnnxTeacher
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.models.weights import load_weights
from fdkd_core.spec import (
    ArchitectureSpec,
    OutputColumnsSpec,
    SegmentationSpec,
    TeacherOutputsSpec,
    TeacherSpec,
)
from fdkd_core.spec.compatibility import stated_architecture_problems
from fdkd_core.spec.onnx_outputs import choose_outputs
from fdkd_core.tasks import task_of

if TYPE_CHECKING:
    from fdkd_core.onnx_files.network import OnnxNetwork

ONNX_SUFFIX = ".onnx"


class RecordedOutputs:
    """Columns named by `teacher.outputs_from`, in the place of a given model.

    Args:
        spec: The columns.
        pointer: Where the teacher stands in the spec.
    """

    report = None
    """The dataset's says all."""
    recipe = None
    architecture = None
    sha256 = None
    """The dataset's covers them."""

    def __init__(self, spec: OutputColumnsSpec, pointer: str) -> None:
        self._spec = spec
        self._pointer = pointer
        self.modality = spec.columns[0]

    def load(self, data: PairedDataset) -> Backbone:
        """The teacher, which `compatibility.check` has found to fit the dataset, on the job's own scale.

        Raises:
            IncompatibleError: As for `RecordedTeacher`.
        """
        return task_of(data).standardised(RecordedTeacher(self._spec, data, self._pointer))


class GivenTeacher:
    """A model file, bundle or Hugging Face folder named by `teacher.model`.

    Args:
        spec: The teacher part of the spec; `spec.model` is set.
        path: What the reference stands for.
        pointer: Where the teacher stands in the spec.

    Raises:
        ModelFileError: It is not a usable bundle or ONNX file, or a weights file without an architecture.
        IncompatibleError: The spec states another architecture than the bundle's, or one for an ONNX file.
    """

    def __init__(self, spec: TeacherSpec, path: Path, pointer: str = "/teacher") -> None:
        self._path = path
        self._pointer = pointer
        self.modality = spec.modality
        self._outputs = spec.outputs
        self._bundle: Bundle | None = None
        self._network: OnnxNetwork | None = None
        self.architecture: ArchitectureSpec | None = None
        if not path.exists():
            raise ModelFileError(
                Problem("not_found", f"the model {quote(str(spec.model))} does not exist", f"{pointer}/model")
            )
        if path.is_dir():
            self._bundle = _imported(path) if is_hugging_face(path) else load_bundle(path)
            self.report = bundle_report(self._bundle)
            problems = stated_architecture_problems(spec, self.report, pointer)
            if problems:
                raise IncompatibleError(problems)
            self.architecture = self._bundle.architecture
            self.sha256 = sha256_file(path / "model.safetensors")
        elif path.suffix.lower() == ONNX_SUFFIX:
            # Not above: most jobs have no use for onnx and its runtime, which take their share of a second.
            from fdkd_core.onnx_files.network import OnnxNetwork
            from fdkd_core.onnx_files.structure import MAX_ONNX_BYTES

            # Read once: what is checked is what runs.
            onnx_file = read_limited(path, MAX_ONNX_BYTES, follow_links=True)
            self._network = OnnxNetwork(onnx_file, threads=torch.get_num_threads())
            self.report = self._network.report()
            problems = stated_architecture_problems(spec, self.report, pointer)
            if problems:
                raise IncompatibleError(problems)
            self.sha256 = hashlib.sha256(onnx_file).hexdigest()
        else:
            if spec.architecture is None:
                raise ModelFileError(stated_architecture_problems(spec, {"architecture": None}, pointer))
            self.architecture = spec.architecture
            self.report = weights_report(path, spec.architecture)
            self.sha256 = sha256_file(path)

    @property
    def recipe(self) -> dict[str, Any] | None:
        """The bundle's preprocessing, which the data must go through; None for a bare weights file."""
        return self._bundle.recipe if self._bundle else None

    def load(self, data: PairedDataset) -> Backbone:
        """The teacher, which `compatibility.check` has found to fit the dataset, on the job's own scale.

        Raises:
            ModelFileError: The weights do not fit the architecture.
            IncompatibleError: An ONNX file does not know all tokens of the column.
        """
        return task_of(data).standardised(self._read(data))

    def _read(self, data: PairedDataset) -> Backbone:
        if self._bundle is not None:
            return self._bundle.model
        if self._network is not None:
            by_pixel = isinstance(data.task, SegmentationSpec)
            tokens = data.vocab_size(self.modality)
            return _onnx_teacher(self._network, self._outputs, self.sha256, tokens, by_pixel=by_pixel)
        assert self.architecture is not None
        model = build_model(
            self.architecture,
            tuple(data.modalities[self.modality].recipe["input_shape"]),
            len(data.outputs),
            data.vocab_size(self.modality),
            pointer=f"{self._pointer}/architecture",
        )
        load_weights(self._path, model)
        return model


def _imported(folder: Path) -> Bundle:
    """A Hugging Face folder as a bundle whose files are gone again, its network read."""
    from fdkd_core.hugging_face.folder import convert_folder

    with tempfile.TemporaryDirectory(prefix="fdkd-imported-") as holder:
        convert_folder(folder, Path(holder) / "bundle")
        bundle = load_bundle(Path(holder) / "bundle")
        _ = bundle.model  # kept by the bundle from here on
    return bundle


def _onnx_teacher(
    network: OnnxNetwork,
    stated: TeacherOutputsSpec | None,
    sha256: str,
    tokens: int | None,
    *,
    by_pixel: bool,
) -> OnnxTeacher:
    logits, features, problems = choose_outputs(stated, network.outputs, by_pixel=by_pixel)
    if problems:
        raise IncompatibleError(problems)
    assert logits is not None
    teacher = OnnxTeacher(network, logits["name"], features["name"] if features else None, sha256)
    if tokens is not None:
        last = np.full((1, *network.input.shape), tokens - 1, np.int64)
        try:
            teacher(torch.from_numpy(last))
        except Exception:  # onnxruntime has one class per status, none of them public
            detail = f"the model fails on token {tokens - 1}, the last of this column"
            raise IncompatibleError(Problem("incompatible", detail, "/teacher/model")) from None
    return teacher
