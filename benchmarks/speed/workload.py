"""What is trained on: an image teacher and an audio student, both ResNet-18, on made-up decoded data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fdkd_core.data.batches import Batch, clean_inputs
from fdkd_core.data.table import ModalityData, PairedDataset
from fdkd_core.memory_layout import is_channels_last
from fdkd_core.modalities import KINDS
from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.phases import Phase, make_model, make_trainee
from fdkd_core.spec import MethodSpec, NoneSpec, ResNet18Spec, SGDSpec, TrainingSpec
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.execution import Execution
from fdkd_core.training.evaluation import predict_rows
from fdkd_core.training.execution import apply_execution
from fdkd_core.training.loop import Trainee

SIDE, CLASSES = 64, 10
NUM_VAL = 8
"""`fit` validates at the end of its epoch, which is not what is timed."""
READY_BATCHES = 4
"""Batches made beforehand and used in turn, so that no step finds its inputs in the CPU's cache."""
Precision = Literal["fp32", "bf16"]


@dataclass
class Workload:
    """Data, models and batches, made when first asked for."""

    width: int
    batch_size: int
    num_batches: int
    """Of an epoch."""
    device: torch.device

    @cached_property
    def data(self) -> PairedDataset:
        """Noise with the shapes, types and recipes of a real data set: values do not change the time."""
        rng = np.random.default_rng(0)
        num_train = self.batch_size * self.num_batches
        total = num_train + NUM_VAL
        pixels = rng.integers(0, 256, (total, 3, SIDE, SIDE), dtype=np.uint8)
        audio = {"rate_hz": 16_000, "mels": SIDE, "frames": SIDE}
        # Log-mel energies of speech: around -4, cut at the floor of silence.
        energies = rng.standard_normal((total, 1, SIDE, SIDE), dtype=np.float32) * 2 - 4
        return PairedDataset(
            ids=[str(row) for row in range(total)],
            labels=rng.integers(0, CLASSES, total),
            classes=[f"class {c}" for c in range(CLASSES)],
            splits={"train": np.arange(num_train), "val": np.arange(num_train, total), "test": np.arange(0)},
            modalities={
                "image": _modality("image", {"size": SIDE, "channels": 3}, pixels),
                "audio": _modality("audio", audio, energies.clip(np.log(1e-4))),
            },
            sha256="made up",
            report={},
        )

    def phase(
        self,
        modality: str,
        method: MethodSpec | None = None,
        teacher_outputs: ModelOutput | None = None,
        precision: Precision = "fp32",
    ) -> Phase:
        """One epoch with the authors' optimiser and batch, and the default augmentation."""
        training = TrainingSpec(
            epochs=1, batch_size=self.batch_size, optimizer=SGDSpec(lr=0.01), precision=precision
        )
        architecture = ResNet18Spec(width=self.width, stem="large")
        return Phase(
            "student", modality, architecture, "/student/architecture", training,
            method or NoneSpec(), teacher_outputs,
        )  # fmt: skip

    def trainee(self, *args: Any, **kwargs: Any) -> Trainee:
        """The trainee of a phase; see `phase`. Nothing is probed: steps are computed as stated."""
        trainee = make_trainee(self.phase(*args, **kwargs), self.data, self.device)
        stated = Execution.model_validate(
            {"precision": trainee.spec.precision, "channels_last": is_channels_last(trainee.model)}
        )
        apply_execution(trainee, stated)
        trainee.model.train()
        return trainee

    def model(self, modality: str, *, channels_last: bool | None = None) -> Backbone:
        """A network outside a trainee; the memory layout is that of a trainee unless stated."""
        if channels_last is None:
            channels_last = self.device.type == "cpu"
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model = make_model(self.phase(modality), self.data)
        return model.to(self.device, memory_format=layout)  # type: ignore[no-any-return, call-overload]

    def teacher(self, *, channels_last: bool | None = None) -> Backbone:
        """The frozen teacher."""
        return self.model("image", channels_last=channels_last).eval().requires_grad_(False)

    def cached_outputs(self) -> ModelOutput:
        """What the frozen teacher says about every training row."""
        return predict_rows(
            self.teacher(), self.data.modalities["image"], self.data.splits["train"], self.device
        )

    @cached_property
    def student_batches(self) -> list[Batch]:
        """Batches of the student, ready to be trained on."""
        batches = self.trainee("audio").batches
        return [batches.batch(step) for step in range(min(READY_BATCHES, self.num_batches))]

    @cached_property
    def teacher_inputs(self) -> list[NDArray[np.float32]]:
        """The teacher's view of the same batches."""
        rows = self.data.splits["train"]
        image = self.data.modalities["image"]
        return [clean_inputs(image, rows[batch.positions]) for batch in self.student_batches]


def _modality(kind_name: KindName, options: dict[str, Any], decoded: NDArray[Any]) -> ModalityData:
    kind = KINDS[kind_name]
    recipe = kind.fit(decoded[:256], kind.resolve(options, []))
    return ModalityData(recipe, decoded, np.arange(len(decoded)))
