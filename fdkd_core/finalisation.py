"""After training: the test split, read once, then the bundles and the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdkd_core.bundle import BundleSummary, ModelCard, write_bundle
from fdkd_core.data.batches import clean_inputs
from fdkd_core.data.table import PairedDataset
from fdkd_core.model_figures import model_figures
from fdkd_core.model_latency import measure_models
from fdkd_core.models.cost import multiply_adds
from fdkd_core.models.recorded_teacher import RecordedTeacher
from fdkd_core.phases import Trained, is_teacher
from fdkd_core.spec import AnyJobSpec, DistillSpec, ExportSpec, MethodJobSpec, TrainSpec
from fdkd_core.spec.auto_result import AutoReport
from fdkd_core.spec.export_result import Latency
from fdkd_core.spec.figures import figure
from fdkd_core.spec.result import GateResult, ModelResult, RunResult, SplitMetrics, TaughtRows
from fdkd_core.tasks import task_of
from fdkd_core.training.evaluation import evaluate_model
from fdkd_core.uplift import failure_of, measure_uplift, pass_gates
from fdkd_core.versions import library_versions
from fdkd_core.workspace import Workspace

if TYPE_CHECKING:
    from fdkd_core.bundle.export_trial import ExportTrial

MIN_CALIBRATION_ROWS, MAX_CALIBRATION_ROWS = 16, 128
"""Training rows by which static int8 finds its ranges."""
MAX_CHANCE_ROWS = 2000
"""Training rows whose labels say what somebody who looks at no sample would answer."""
CALIBRATION_OPERATIONS = 20_000_000_000
"""Multiply-adds that this may take: a few seconds. Not a time, so that equal students give equal files."""


NOT_FINITE = (
    "The given teacher answers rows of validation or test with numbers that are not finite: its figures are "
    "not known."
)


@dataclass(frozen=True)
class Finalisation:
    """Everything the last phase reads."""

    spec: AnyJobSpec
    data: PairedDataset
    workspace: Workspace
    device: torch.device
    identity: dict[str, Any]
    warn: Callable[[str], object]
    """Told what the user should know, and need not stop for."""

    def finish(
        self,
        trained: dict[str, Trained],
        taught: list[TaughtRows],
        *,
        threads: int,
        started: float,
        processes: int = 1,
        auto: AutoReport | None = None,
    ) -> RunResult:
        """Reads the test split, once per model, writes the bundles and the result.

        A search has read it for its finalists, after their weights were chosen. Of the two that come here,
        which validation chose, it is read again for their answers row by row: the figures are the same.

        Raises:
            GateFailedError: The student did not pass a gate that it had to; its figures are kept, it is not.
        """
        assert isinstance(self.spec, DistillSpec | TrainSpec)
        results: dict[str, ModelResult] = {}
        answers: dict[str, NDArray[Any]] = {}
        labels = self.data.labels[self.data.splits["test"]]
        for role, model in trained.items():
            if isinstance(model.model, RecordedTeacher) and not model.model.num_logits:
                continue  # how good it is, nobody knows
            is_given = is_teacher(role) and not model.epochs
            evaluate = partial(
                evaluate_model, model.model, self.data, model.modality,
                device=self.device, as_served=not is_given,
            )  # fmt: skip
            try:
                val, _ = evaluate("val")
                test, answers[role] = evaluate("test")
            except FloatingPointError:
                if not is_given:
                    raise
                self.warn(NOT_FINITE)  # given, and no reason to withhold a student that was trained by now
                continue
            results[role] = self.model_result(model, val=val, test=test)
        uplift = None
        gates: list[GateResult] = []
        if "control" in results:
            assert isinstance(self.spec, DistillSpec)
            uplift = measure_uplift(
                task_of(self.data),
                results,
                labels,
                answers["student"],
                answers["control"],
                self.data.groups_of("test"),
                learned=self.some_labels(),
                select_by=self.spec.training.select_by,
            )
            is_control = results["student"].weights_sha256 == results["control"].weights_sha256
            gates = pass_gates(self.spec.gates, uplift, is_control=is_control)
        for role, latency in self.latencies({role: trained[role] for role in results}).items():
            results[role] = results[role].model_copy(update={"latency": latency})
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
        export = None
        if failure is None:
            export = self.write_bundle("student", trained["student"], card).export
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
            more_teachers=[results[role] for role in teachers[1:] if role in results],
            student=results["student"],
            control=results.get("control"),
            uplift=uplift,
            gates=gates,
            taught=taught,
            auto=auto,
            bundle=None if failure else "student",
            export=export,
            teacher_bundle=bundles.get("teacher"),
            more_teacher_bundles=[bundles[role] for role in teachers[1:]],
            versions=versions,
            device=str(self.device),
            threads=threads,
            processes=processes,
            seconds=time.monotonic() - started,
        )
        if failure is not None:
            self.workspace.refuse(result)
            raise failure
        self.workspace.finish(result)
        return result

    def some_labels(self) -> NDArray[Any]:
        """Of training rows from everywhere: how often each is, not every mask of a large dataset."""
        rows = self.data.splits["train"]
        count = min(len(rows), MAX_CHANCE_ROWS)
        found: NDArray[Any] = self.data.labels[rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]]
        return found

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
            execution=trained.execution,
            **model_figures(self._as_handed_over(trained), tuple(recipe["input_shape"])),
        )

    def _as_handed_over(self, trained: Trained) -> Trained:
        """The model with answers in the units of the data."""
        return replace(trained, model=task_of(self.data).in_own_units(trained.model))

    @property
    def export(self) -> ExportSpec:
        """What the job asks for."""
        assert isinstance(self.spec, MethodJobSpec | TrainSpec)
        return self.spec.export

    def latencies(self, trained: Mapping[str, Trained]) -> dict[str, Latency]:
        """By role; a control is the student's network once more and has none of its own."""
        timed = {role: model for role, model in trained.items() if role != "control"}
        return measure_models(timed, self.data, self.export.latency_s)

    def write_bundle(
        self,
        role: str,
        trained: Trained,
        card: ModelCard,
        *,
        with_onnx: bool = True,
        was_handed_over: bool = False,
    ) -> BundleSummary:
        """Writes the bundle of a model into the folder named for its role.

        Args:
            role: Such as `student`.
            trained: The model, on the scale of the job.
            card: Its card.
            with_onnx: Whether a student is exported, where the job asks for it.
            was_handed_over: Whether it was read from a bundle, and so has the units of the data already.
        """
        modality = self.data.modalities[trained.modality]
        assert trained.architecture is not None  # it was trained here
        # The teacher's bundle is there to teach the next job, not to be served: no ONNX for it.
        is_served = role == "student" and with_onnx and self.export.onnx
        return write_bundle(
            self.workspace.folder / role,
            model=trained.model if was_handed_over else self._as_handed_over(trained).model,
            architecture=trained.architecture,
            recipe=modality.recipe,
            classes=self.data.outputs,
            task=self.data.task,
            card=card,
            parity_inputs=clean_inputs(modality, self.data.splits["test"]) if is_served else None,
            trial=self._trial(trained) if is_served else None,
            role=role,
        )

    def _trial(self, trained: Trained) -> ExportTrial:
        """On what the export is measured."""
        from fdkd_core.bundle.export_trial import ExportTrial  # onnx, which not every job needs

        modality, rows = self.data.modalities[trained.modality], self.data.splits["val"]
        training = self.data.training_rows(trained.modality)
        cost = multiply_adds(trained.model, tuple(modality.recipe["input_shape"]))
        count = min(
            len(training),
            MAX_CALIBRATION_ROWS,
            max(MIN_CALIBRATION_ROWS, CALIBRATION_OPERATIONS // max(1, cost)),
        )
        # From everywhere: files are often sorted by class.
        spread = training[np.linspace(0, len(training) - 1, count).astype(np.int64)]
        task, labels = task_of(self.data), self.data.labels[rows]

        def score(parts: Iterable[NDArray[np.float32]]) -> float:
            kept: list[NDArray[Any]] = []
            done = 0
            for outputs in parts:
                kept.append(task.answers(task.on_own_scale(outputs), labels[done : done + len(outputs)]))
                done += len(outputs)
            return figure(task.metrics(np.concatenate(kept), labels), task.facts.main.name)

        return ExportTrial(
            self.export,
            clean_inputs(modality, rows),
            clean_inputs(modality, spread),
            score,
            task.facts.main,
            has_units=task.kind == "regression",
            no_int8=task.facts.no_int8,
        )
