"""After training: the test split, read once, then the bundles and the result."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdkd_core.bundle import ModelCard, write_bundle
from fdkd_core.data.batches import clean_inputs
from fdkd_core.data.table import PairedDataset
from fdkd_core.model_figures import model_figures
from fdkd_core.phases import Trained, evaluate_model, is_teacher
from fdkd_core.spec import AnyJobSpec, DiagnoseSpec, DistillSpec, TrainSpec
from fdkd_core.spec.auto_result import AutoReport
from fdkd_core.spec.result import GateResult, ModelResult, RunResult, SplitMetrics, TaughtRows
from fdkd_core.uplift import failure_of, measure_uplift, pass_gates
from fdkd_core.versions import library_versions
from fdkd_core.workspace import Workspace


@dataclass(frozen=True)
class Finalisation:
    """Everything the last phase reads."""

    spec: AnyJobSpec
    data: PairedDataset
    workspace: Workspace
    device: torch.device
    identity: dict[str, Any]

    def finish(
        self,
        trained: dict[str, Trained],
        taught: list[TaughtRows],
        *,
        threads: int,
        started: float,
        auto: AutoReport | None = None,
    ) -> RunResult:
        """Reads the test split, once per model, writes the bundles and the result.

        Raises:
            GateFailedError: The student did not pass a gate that it had to; its figures are kept, it is not.
        """
        assert isinstance(self.spec, DistillSpec | TrainSpec)
        results: dict[str, ModelResult] = {}
        predicted: dict[str, NDArray[np.int64]] = {}
        labels = self.data.labels[self.data.splits["test"]]
        for role, model in trained.items():
            val, _ = evaluate_model(model.model, self.data, model.modality, "val", self.device)
            test, outputs = evaluate_model(model.model, self.data, model.modality, "test", self.device)
            predicted[role] = outputs.logits.numpy().argmax(axis=1)
            results[role] = self.model_result(model, val=val, test=test)
        uplift = None
        gates: list[GateResult] = []
        if "control" in results:
            assert isinstance(self.spec, DistillSpec)
            uplift = measure_uplift(results, labels, predicted["student"], predicted["control"])
            gates = pass_gates(self.spec.gates, uplift)
        failure = failure_of(gates)
        versions = library_versions()
        card = ModelCard(
            spec=self.spec.model_dump(mode="json"),
            results=results,
            uplift=uplift,
            gates=gates,
            taught=taught,
            chosen=auto.reason if auto is not None else "",
            data_report=self.data.report,
            identity=self.identity,
            versions=versions,
        )
        teachers = [role for role in trained if is_teacher(role)]
        bundles = {role: role if trained[role].epochs else None for role in teachers}
        if failure is None:
            self.write_bundle("student", trained["student"], card)
        for role, folder in bundles.items():
            if folder is not None:
                self.write_bundle(role, trained[role], card)
        result = RunResult(
            kind=self.spec.kind,
            name=self.spec.name,
            spec_sha256=self.identity["spec"],
            data_sha256=self.data.sha256,
            classes=len(self.data.classes),
            teacher=results.get("teacher"),
            more_teachers=[results[role] for role in teachers[1:]],
            student=results["student"],
            control=results.get("control"),
            uplift=uplift,
            gates=gates,
            taught=taught,
            auto=auto,
            bundle=None if failure else "student",
            teacher_bundle=bundles.get("teacher"),
            more_teacher_bundles=[bundles[role] for role in teachers[1:]],
            versions=versions,
            device=str(self.device),
            threads=threads,
            seconds=time.monotonic() - started,
        )
        if failure is not None:
            self.workspace.refuse(result)
            raise failure
        self.workspace.finish(result)
        return result

    def model_result(self, trained: Trained, *, val: SplitMetrics, test: SplitMetrics) -> ModelResult:
        """What the result says of a model."""
        recipe = self.data.modalities[trained.modality].recipe
        return ModelResult(
            modality=trained.modality,
            val=val,
            test=test,
            seconds=trained.seconds,
            epochs=trained.epochs,
            best_epoch=trained.best_epoch,
            **model_figures(trained, tuple(recipe["input_shape"])),
        )

    def write_bundle(self, role: str, trained: Trained, card: ModelCard, *, with_onnx: bool = True) -> None:
        """Writes the bundle of a model into the folder named for its role."""
        modality = self.data.modalities[trained.modality]
        # The teacher's bundle is there to teach the next job, not to be served: no ONNX for it.
        assert trained.architecture is not None  # it was trained here
        assert not isinstance(self.spec, DiagnoseSpec)
        with_onnx = with_onnx and role == "student" and self.spec.export.onnx
        parity = clean_inputs(modality, self.data.splits["test"]) if with_onnx else None
        write_bundle(
            self.workspace.folder / role,
            model=trained.model,
            architecture=trained.architecture,
            recipe=modality.recipe,
            classes=self.data.classes,
            card=card,
            parity_inputs=parity,
            role=role,
        )
