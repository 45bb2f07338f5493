"""The kind `diagnose`: pairing -> teacher -> student -> similarity -> probes -> speed -> verdict.

It takes about a minute and keeps no checkpoints: a diagnosis that was stopped starts over.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fdkd_core.data.table import PairedDataset
from fdkd_core.diagnosis.alignment import check_alignment
from fdkd_core.diagnosis.dense_looks import DenseLooks
from fdkd_core.diagnosis.headroom import Answers, compare_modalities
from fdkd_core.diagnosis.looks import Looks
from fdkd_core.diagnosis.networks import Network, make_network, planned_steps
from fdkd_core.diagnosis.pairing import contradictions, find_leaks, read_contents, repeats
from fdkd_core.diagnosis.report import write_report
from fdkd_core.diagnosis.sample import MAX_PROBED, Sample, describe, draw_sample
from fdkd_core.diagnosis.similarity import make_splitter, measure_similarity
from fdkd_core.diagnosis.speed import measure_speed
from fdkd_core.diagnosis.tasks import DiagnosedSegmentation, diagnosed
from fdkd_core.diagnosis.verdict import judge
from fdkd_core.diagnosis.views import Components, side_by_side
from fdkd_core.errors import TrainingInterrupted
from fdkd_core.job_run import JobRun
from fdkd_core.preparation import teacher_training
from fdkd_core.spec import AnyJobSpec, FDCMKDSpec
from fdkd_core.spec.diagnose import DiagnoseSpec
from fdkd_core.spec.findings import (
    AlignmentFindings,
    DiagnosisResult,
    Findings,
    HeadroomFindings,
    PairingFindings,
    Part,
    SimilarityFindings,
    SpeedFindings,
)
from fdkd_core.spec.methods import fd_cmkd_of
from fdkd_core.versions import library_versions

PHASES = ("pairing", "teacher", "student", "similarity", "probes", "speed")
_WEIGHTS = {"pairing": 20, "similarity": 60, "probes": 20, "speed": 60}
"""Phases without steps count as so many, for the job's progress."""
_PARTS: tuple[Part, ...] = ("teacher", "student")


def run_diagnosis(job: JobRun) -> DiagnosisResult:
    """Looks at data and networks, and writes report and result."""
    assert isinstance(job.spec, DiagnoseSpec)
    found = _Diagnosis(job)
    findings = found.findings()
    verdict, reasons, advice = judge(findings, job.spec.method)
    result = DiagnosisResult(
        kind="diagnose",
        name=job.spec.name,
        spec_sha256=job.identity["spec"],
        data_sha256=job.data.sha256,
        findings=findings,
        verdict=verdict,
        reasons=reasons,
        advice=advice,
        versions=library_versions(),
        device=str(job.device),
        threads=job.threads,
        seconds=time.monotonic() - job.started,
    )
    write_report(job.workspace.report_path, result)
    job.workspace.finish(result)
    return result


def plan_diagnosis(spec: AnyJobSpec, data: PairedDataset, *, is_teacher_given: bool) -> list[dict[str, Any]]:
    """Name and most steps of each phase."""
    assert isinstance(spec, DiagnoseSpec)
    teacher, student = spec.teacher.modality, spec.student.modality
    num_pairs, steps = len(data.training_rows(teacher, student)), dict(_WEIGHTS)
    for part, modality, training in (
        ("teacher", teacher, teacher_training(spec)),
        ("student", student, spec.training),
    ):
        num_rows = len(data.training_rows(modality))
        steps[part] = planned_steps(training, num_rows, num_pairs, spec.max_samples)
    if is_teacher_given:
        steps["teacher"] = 0
    return [{"name": name, "total_steps": steps[name]} for name in PHASES]


class _Diagnosis:
    """The sections in their order; what one makes and another needs is kept here."""

    def __init__(self, job: JobRun) -> None:
        assert isinstance(job.spec, DiagnoseSpec)
        self.job, self.spec, self.data = job, job.spec, job.data
        self.loading_s = time.monotonic() - job.started
        self.columns: dict[Part, str] = {
            "teacher": self.spec.teacher.modality,
            "student": self.spec.student.modality,
        }
        self.task = diagnosed(self.data)
        self.sample: Sample = draw_sample(
            self.data, self.columns.values(), self.task.choose, self.spec.max_samples, self.spec.seed
        )
        self.steps = {
            phase["name"]: int(phase["total_steps"])
            for phase in plan_diagnosis(self.spec, self.data, is_teacher_given=job.given is not None)
        }

    def findings(self) -> Findings:
        """Runs every section."""
        pairing = self._in_phase("pairing", self._pairing)
        networks: dict[Part, Network] = {part: self._in_phase(part, self._network) for part in _PARTS}
        looks = (DenseLooks if isinstance(self.task, DiagnosedSegmentation) else Looks)(
            self.job, self.sample, self.task, self.columns, networks, self.spec.seed
        )
        alignment, similarity = self._in_phase("similarity", lambda name: self._similarity(looks))
        headroom = self._in_phase("probes", lambda name: self._headroom(looks))
        speed = self._in_phase("speed", lambda name: self._speed(networks))
        return Findings(
            task=self.spec.task.kind,
            sample=describe(self.sample, self.data, self.columns.values()),
            pairing=pairing.model_copy(update={"alignment": alignment}),
            networks=[networks[part].how for part in _PARTS],
            similarity=similarity,
            headroom=headroom,
            speed=speed,
        )

    def _in_phase(self, name: Any, section: Any) -> Any:
        """Announces a section, runs it, and announces its end.

        Raises:
            TrainingInterrupted: `should_stop` said so.
        """
        log = self.job.log
        log.emit("phase_started", phase=name, step=0, total_steps=self.steps[name], resumed=False)
        if self.job.should_stop():
            raise TrainingInterrupted
        started = time.monotonic()
        found = section(name)
        log.emit(
            "phase_finished",
            phase=name,
            epochs=0,
            best_epoch=0,
            stopped_early=False,
            seconds=time.monotonic() - started,
        )
        return found

    def _pairing(self, name: str) -> PairingFindings:
        contents = {
            part: read_contents(self.data.modalities[column]) for part, column in self.columns.items()
        }
        # The labels of the test split are nobody's business yet.
        known = np.sort(np.concatenate([self.data.splits["train"], self.data.splits["val"]]))
        marks = self.task.marks(known)
        looked_at = np.concatenate(list(self.data.splits.values()))
        return PairingFindings(
            blank_rows={part: int(found.is_blank[looked_at].sum()) for part, found in contents.items()},
            contradicting_rows={
                part: contradictions(found, known, marks, self.task.tolerance)
                for part, found in contents.items()
            },
            blank_labels=self.task.blank_labels(known),
            repeats=[
                repeats(split, contents["teacher"], contents["student"], rows)
                for split, rows in self.data.splits.items()
            ],
            leaks=find_leaks(self.data, self.columns, contents),
            alignment=[],
        )

    def _network(self, part: Part) -> Network:
        before = list(PHASES).index(part)
        return make_network(self.job, self.sample, part, sum(self.steps[name] for name in PHASES[:before]))

    def _similarity(self, looks: Looks) -> tuple[list[AlignmentFindings], SimilarityFindings]:
        alignment = self._alignment(looks)
        if self.job.should_stop():
            raise TrainingInterrupted
        # A method without bands is shown those that FD-CMKD would make.
        method = fd_cmkd_of(self.spec.method) or FDCMKDSpec()
        measured = looks.measured()
        similarity = measure_similarity(
            measured.teacher,
            {"inputs": measured.inputs, "features": measured.features},
            measured.strata,
            stratum=self.task.stratum,
            method=method,
            splitter=make_splitter(method, *looks.fitted(), self.spec.training.seed),
            student_dim=measured.features.shape[1],
            rng=self._rng("similarity"),
        )
        return alignment, similarity.model_copy(update={"places": measured.places})

    def _alignment(self, looks: Looks) -> list[AlignmentFindings]:
        rows, held_out = self.sample.measured, self.sample.held_out
        views = {}
        for part in _PARTS:
            features = looks.features(part, rows)
            views[part] = side_by_side(
                looks.inputs(part, held_out), Components(features).of(features[np.isin(rows, held_out)])
            )
        return check_alignment(
            held_out,
            self.task.targets(held_out),
            self.task.within(held_out),
            views["teacher"],
            views["student"],
            self._rng("alignment"),
        )

    def _headroom(self, looks: Looks) -> HeadroomFindings:
        rng, validated = self._rng("probes"), self.sample.validated
        fitted = self.task.choose(self.sample.fit, MAX_PROBED, rng)
        metric = self.task.metric(self.spec.training.select_by)
        answers: list[Answers] = []
        for part in _PARTS:
            network = looks.networks[part]
            if network.how.how != "untrained":
                answers.append(Answers(part, "network", network.answers))
            probed = looks.probed(part, fitted, rng, metric)
            answers += [Answers(part, view, outputs) for view, outputs in probed]
        return compare_modalities(
            answers,
            self.task.task,
            self.task.labels(validated),
            metric=metric,
            chance=self.task.chance(metric, fitted, validated),
            has_teacher=looks.networks["teacher"].how.how != "untrained",
            test_rows=len(self.data.splits["test"]),
            groups_N=self.task.clusters(validated),
        )

    def _speed(self, networks: dict[Part, Network]) -> SpeedFindings:
        teacher, student = networks["teacher"], networks["student"]
        return measure_speed(self.job, teacher, student, self.loading_s, self.task.choose, self._rng("speed"))

    def _rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng((self.spec.seed, *purpose.encode()))
