"""What rank 0 puts down for the other ranks: the decoded data once, and each phase before it begins.

FOLDER/data.json, NAME.values.npy, NAME.index.npy, labels.npy   decoded once, by rank 0, and mapped by all
FOLDER/phase-N.json, phase-N.safetensors                        a phase, its splits, the state it begins with
FOLDER/store                                                    where the processes find each other

All of it comes from our own rank 0, and none of it is a pickle all the same.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch import Tensor

from fdkd_core.atomic_files import storage_errors
from fdkd_core.data.table import ModalityData, PairedDataset, Split, TargetScale
from fdkd_core.models.base import ModelOutput
from fdkd_core.phases import FurtherTeacher, Phase
from fdkd_core.spec import ArchitectureSpec, MethodSpec, TaskSpec, TrainingSpec
from fdkd_core.spec.execution import Execution
from fdkd_core.teacher_views import TeacherRows
from fdkd_core.training.checkpoint import pack, unpack
from fdkd_core.training.loop import LoopState, Trainee

_ARCHITECTURE: TypeAdapter[ArchitectureSpec] = TypeAdapter(ArchitectureSpec)
_METHOD: TypeAdapter[MethodSpec] = TypeAdapter(MethodSpec)
_TASK: TypeAdapter[TaskSpec] = TypeAdapter(TaskSpec)


def write_data(folder: Path, data: PairedDataset) -> None:
    """Puts down what training reads of a dataset, beside its splits, which are those of a phase.

    Raises:
        StorageError: The disk is full.
    """
    document: dict[str, Any] = {
        "classes": data.classes,
        "task": data.task.model_dump(mode="json"),
        "targets": None,
        "recipes": [[name, found.recipe] for name, found in data.modalities.items()],
    }
    if data.targets is not None:
        scale = data.targets
        document["targets"] = [list(scale.names), scale.mean.tolist(), scale.std.tolist()]
    with storage_errors():
        np.save(folder / "labels.npy", data.labels)
        for number, found in enumerate(data.modalities.values()):
            np.save(folder / f"{number}.values.npy", found.values)
            np.save(folder / f"{number}.index.npy", found.index)
        (folder / "data.json").write_text(json.dumps(document))


def read_data(folder: Path) -> PairedDataset:
    """The dataset without splits, its values mapped from the files."""
    document = json.loads((folder / "data.json").read_text())
    scale = document["targets"]
    return PairedDataset(
        ids=[],
        labels=_mapped(folder / "labels.npy"),
        classes=document["classes"],
        splits={},
        modalities={
            name: ModalityData(
                recipe, _mapped(folder / f"{number}.values.npy"), _mapped(folder / f"{number}.index.npy")
            )
            for number, (name, recipe) in enumerate(document["recipes"])
        },
        sha256="",
        report={},
        task=_TASK.validate_python(document["task"], strict=False),
        targets=scale and TargetScale(tuple(scale[0]), np.array(scale[1]), np.array(scale[2])),
    )


def write_phase(
    folder: Path, number: int, phase: Phase, data: PairedDataset, trainee: Trainee, state: LoopState
) -> None:
    """Puts down a phase, and trainee and state as it begins.

    Args:
        folder: Which holds the dataset.
        number: Of the phase.
        phase: What is trained.
        data: That dataset, with the splits of this phase: cross-validation leaves rows out.
        trainee: Ready to be trained.
        state: Where it begins.

    Raises:
        StorageError: The disk is full.
    """
    packed, loop = pack(trainee, replace(state, best_weights={}, history=[]))
    tensors = {f"state/{name}": tensor for name, tensor in packed.items()}
    tensors |= {f"split/{name}": torch.from_numpy(rows) for name, rows in data.splits.items()}
    lessons = [(phase.teacher_outputs, phase.paired)]
    lessons += [(found.rows.outputs, found.rows.paired) for found in phase.more_teachers]
    for index, (outputs, paired) in enumerate(lessons):
        named = {"paired": paired}
        if outputs is not None:
            named |= {"features": outputs.features, "logits": outputs.logits}
        tensors |= {f"teacher{index}/{name}": part for name, part in named.items() if part is not None}
    if phase.row_weights is not None:
        tensors["row_weights"] = phase.row_weights
    if phase.answers is not None:
        tensors["answers"] = torch.from_numpy(phase.answers)
    document = {
        "name": phase.name,
        "modality": phase.modality,
        "architecture": phase.architecture.model_dump(mode="json"),
        "pointer": phase.pointer,
        "training": phase.training.model_dump(mode="json"),
        "method": phase.method.model_dump(mode="json"),
        "more_teachers": [[found.name, found.weight] for found in phase.more_teachers],
        "execution": trainee.execution.model_dump(mode="json"),
        "is_evened": phase.is_evened,
        "state": loop,
    }
    with storage_errors():
        kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(kept, _path(folder, number, "safetensors"))
        _path(folder, number, "json").write_text(json.dumps(document))


class PhaseHandout:
    """A phase as it was put down."""

    def __init__(self, folder: Path, number: int) -> None:
        self._document = json.loads(_path(folder, number, "json").read_text())
        self._tensors: dict[str, Tensor] = {}
        with safetensors.safe_open(_path(folder, number, "safetensors"), framework="pt") as file:
            self._tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict

    @property
    def execution(self) -> Execution:
        """How its steps are computed."""
        return Execution.model_validate(self._document["execution"])

    def with_splits(self, data: PairedDataset) -> PairedDataset:
        """The dataset as this phase parts it."""
        named = {
            cast(Split, name.removeprefix("split/")): rows.numpy()
            for name, rows in self._tensors.items()
            if name.startswith("split/")
        }
        return replace(data, splits=named)

    def phase(self) -> Phase:
        """What is trained, and how; teachers by their outputs alone."""
        document = self._document
        outputs, paired = self._lesson(0)
        return Phase(
            document["name"],
            document["modality"],
            _ARCHITECTURE.validate_python(document["architecture"], strict=False),
            document["pointer"],
            TrainingSpec.model_validate(document["training"], strict=False),
            _METHOD.validate_python(document["method"], strict=False),
            outputs,
            paired,
            more_teachers=tuple(
                self._further(index, name, weight)
                for index, (name, weight) in enumerate(document["more_teachers"], start=1)
            ),
            answers=self._tensors["answers"].numpy() if "answers" in self._tensors else None,
            is_evened=document["is_evened"],
            row_weights=self._tensors.get("row_weights"),
        )

    def begin(self, trainee: Trainee) -> LoopState:
        """Puts weights, optimiser and the method's parameters into a trainee; returns where it begins."""
        state = {
            name.removeprefix("state/"): tensor
            for name, tensor in self._tensors.items()
            if name.startswith("state/")
        }
        return unpack(trainee, state, self._document["state"])

    def _lesson(self, index: int) -> tuple[ModelOutput | None, Tensor | None]:
        found = {
            name: self._tensors.get(f"teacher{index}/{name}") for name in ("features", "logits", "paired")
        }
        features, logits = found["features"], found["logits"]
        outputs = None if features is None or logits is None else ModelOutput(features, logits)
        return outputs, found["paired"]

    def _further(self, index: int, name: str, weight: float) -> FurtherTeacher:
        outputs, paired = self._lesson(index)
        assert outputs is not None
        return FurtherTeacher(name, None, TeacherRows(outputs, paired, 0), weight)


def remove_phase(folder: Path, number: int) -> None:
    """Frees the space of a phase that has begun."""
    for ending in ("json", "safetensors"):
        _path(folder, number, ending).unlink(missing_ok=True)


def _path(folder: Path, number: int, ending: str) -> Path:
    return folder / f"phase-{number}.{ending}"


def _mapped(path: Path) -> NDArray[Any]:
    found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found
