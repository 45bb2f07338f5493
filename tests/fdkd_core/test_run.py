from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.numpy import load_file
from small_job import NOTHING_MADE, STEPS_PER_PHASE, small_spec, write_small_data

import fdkd_core
from fdkd_core.console import show_result
from fdkd_core.errors import IncompatibleError, InputError, ModelFileError, SpecError, TrainingInterrupted
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import load_spec, spec_sha256
from fdkd_core.spec.result import RunResult

OPTIONS = RunOptions(device="cpu", threads=1)
MEASURED = {"latency_s": 0.1}
"""All that is made of a student by default, in less time."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


@pytest.fixture(scope="module")
def finished(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunResult, list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("run") / "out"
    events: list[dict[str, Any]] = []
    result = run(small_spec(export=MEASURED), data, out, options=OPTIONS, on_event=events.append)
    return out, result, events


def test_the_result_has_three_models_and_the_uplift(finished: Any) -> None:
    out, result, _ = finished
    assert json.loads((out / "result.json").read_text()) == result.model_dump(mode="json")
    assert result.teacher is not None
    assert result.control is not None
    assert result.uplift is not None
    assert result.teacher.test.accuracy > 0.8
    assert result.uplift.test_accuracy == pytest.approx(
        result.student.test.accuracy - result.control.test.accuracy
    )
    assert result.student.parameters == result.control.parameters
    assert result.student.weights_sha256 != result.control.weights_sha256
    for model in (result.teacher, result.student, result.control):
        assert model.test.num_samples == 30
        assert model.epochs == 3
        assert 1 <= model.best_epoch <= 3
        assert model.seconds > 0


def test_the_terminal_says_that_a_teacher_is_behind_the_control(finished: Any) -> None:
    """A control better than the teacher leaves nothing to be taught; with this teacher it is not said."""
    out, result, _ = finished
    better = result.control.test.model_copy(update={"accuracy": result.teacher.test.accuracy + 0.01})
    control = result.control.model_copy(update={"test": better})
    for shown, is_told in ((result, False), (result.model_copy(update={"control": control}), True)):
        target = io.StringIO()
        show_result(Console(width=80, file=target), shown, out)
        assert ("teacher does worse on the test split" in " ".join(target.getvalue().split())) == is_told


def test_the_result_says_what_the_student_costs(finished: Any) -> None:
    out, result, _ = finished
    assert result.control.latency is None
    for model in (result.teacher, result.student):
        assert (model.latency.runtime, model.latency.threads) == ("torch", 1)
        assert [batch.batch_size for batch in model.latency.batches] == [1, 32]
    fp32, kept = result.export.fp32, result.export.kept
    assert fp32.val == result.student.val.accuracy
    assert fp32.size_bytes == (out / "student" / "model.onnx").stat().st_size
    assert [batch.batch_size for batch in fp32.latency.batches] == [1, 32]
    assert [file.scheme for file in result.export.int8] == ["dynamic", "static"]
    assert result.export.int8_failures == []
    # Whether one is worth keeping may depend on the machine; what is said of it must be so.
    assert (out / "student" / "model.int8.onnx").exists() == (kept is not None)
    for role in ("student", "teacher"):
        card = (out / role / "README.md").read_text()
        assert "## Size and speed" in card
    card = (out / "student" / "README.md").read_text()
    assert all(file.reason in card for file in result.export.int8)


def test_the_output_folder_holds_what_it_should(finished: Any) -> None:
    out, _, _ = finished
    assert {path.name for path in out.iterdir()} == {
        "job.json", "data_report.json", "events.jsonl", "teacher", "student", "result.json", ".lock",
    }  # fmt: skip
    job = json.loads((out / "job.json").read_text())
    resolved = load_spec(job["spec"])
    assert job["identity"]["spec"] == spec_sha256(resolved)
    assert (out / "student" / "model.onnx").exists()
    assert not (out / "teacher" / "model.onnx").exists()


def test_the_student_is_the_students_network_alone(finished: Any) -> None:
    """No projector, no band classifiers, nothing of the teacher."""
    out, result, _ = finished
    tensors = load_file(out / "student" / "model.safetensors")
    assert not [name for name in tensors if name.startswith(("projector", "shared", "heads", "method"))]
    learnt = [n for n in tensors if not n.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert sum(tensors[name].size for name in learnt) == result.student.parameters


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_the_bundle_predicts_what_the_result_claims(finished: Any, data: Path, backend: Any) -> None:
    out, result, _ = finished
    arrays = np.load(data)
    test = arrays["split"] == "test"
    student = fdkd_core.load_student(out / "student", backend=backend)
    predictions = student.predict_many(list(arrays["wave"][test]))
    labels = [str(label) for label in arrays["label"][test]]
    right = np.mean([found.label == label for found, label in zip(predictions, labels, strict=True)])
    assert right == pytest.approx(result.student.test.accuracy)


def test_events_tell_the_whole_story(finished: Any) -> None:
    out, _, events = finished
    logged = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert logged == events
    phases = [event["phase"] for event in events if event["event"] == "phase_started"]
    assert phases == ["teacher", "student", "control", "finalise"]
    planned = events[0]["phases"]
    assert [phase["total_steps"] for phase in planned] == [STEPS_PER_PHASE] * 3
    steps = [event for event in events if event["event"] == "step"]
    assert steps[-1]["job_step"] == 3 * STEPS_PER_PHASE
    assert set(next(event for event in steps if event["phase"] == "student")["terms"]) == {
        "task", "low", "high", "align", "heads",
    }  # fmt: skip
    assert set(next(event for event in steps if event["phase"] == "control")["terms"]) == {"task"}
    assert len([event for event in events if event["event"] == "epoch"]) == 9
    assert events[-1]["event"] == "run_finished"


def test_a_finished_run_is_not_done_again(finished: Any, data: Path) -> None:
    out, result, _ = finished
    before = (out / "result.json").stat().st_mtime_ns
    assert run(small_spec(export=MEASURED), data, out, options=OPTIONS) == result
    assert (out / "result.json").stat().st_mtime_ns == before


def test_the_same_spec_data_and_seed_give_the_same_bits(finished: Any, data: Path, tmp_path: Path) -> None:
    again = run(small_spec(), data, tmp_path / "out", options=OPTIONS)
    _, result, _ = finished
    for role in ("teacher", "student", "control"):
        assert getattr(again, role).weights_sha256 == getattr(result, role).weights_sha256


def test_the_control_is_what_training_without_a_teacher_gives(
    finished: Any, data: Path, tmp_path: Path
) -> None:
    """So it is matched: the same initial weights, batches, augmentation and dropout."""
    spec = small_spec()
    alone = load_spec(
        {
            "kind": "train",
            "dataset": "small",
            "task": {"kind": "classification"},
            "student": spec.student.model_dump(mode="json"),
            "training": spec.training.model_dump(mode="json"),
            "export": NOTHING_MADE,
        }
    )
    result = run(alone, data, tmp_path / "out", options=OPTIONS)
    assert result.student.weights_sha256 == finished[1].control.weights_sha256
    assert result.teacher is None
    assert result.uplift is None


def test_method_none_is_its_own_control(finished: Any, data: Path, tmp_path: Path) -> None:
    result = run(small_spec(method={"name": "none"}), data, tmp_path / "out", options=OPTIONS)
    assert result.control is None
    assert result.student.weights_sha256 == finished[1].control.weights_sha256


def test_a_trained_teacher_can_teach_the_next_job(finished: Any, data: Path, tmp_path: Path) -> None:
    out, first, _ = finished
    spec = small_spec(teacher={"modality": "clean", "model": "teacher"})
    before = (out / "teacher" / "model.safetensors").read_bytes()
    options = RunOptions(device="cpu", threads=1, models={"teacher": out / "teacher"})
    result = run(spec, data, tmp_path / "out", options=options)
    assert result.teacher is not None
    assert result.teacher.weights_sha256 == first.teacher.weights_sha256
    assert result.teacher.epochs == 0
    assert result.student.weights_sha256 == first.student.weights_sha256
    assert (out / "teacher" / "model.safetensors").read_bytes() == before
    assert not (tmp_path / "out" / "teacher").exists()


def test_a_teacher_may_be_bare_weights_with_an_architecture(
    finished: Any, data: Path, tmp_path: Path
) -> None:
    out, first, _ = finished
    spec = small_spec(
        teacher={"modality": "clean", "model": "w.safetensors", "architecture": {"name": "mlp", "width": 8}}
    )
    options = RunOptions(
        device="cpu", threads=1, models={"w.safetensors": out / "teacher" / "model.safetensors"}
    )
    result = run(spec, data, tmp_path / "out", options=options)
    assert result.student.weights_sha256 == first.student.weights_sha256


def refused(kind: type[InputError], spec: Any, data: Path, out: Path, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        run(spec, data, out, options=RunOptions(**{"device": "cpu", "threads": 1, **options}))
    assert not (out / "work").exists()
    return caught.value.problems[0].code


def test_teachers_that_do_not_fit_are_refused(finished: Any, data: Path, tmp_path: Path) -> None:
    out, _, _ = finished
    given = {"modality": "clean", "model": "teacher"}
    models = {"teacher": out / "teacher"}
    other_classes = write_small_data(tmp_path / "other.npz", classes=4)
    place = tmp_path / "out"
    assert (
        refused(IncompatibleError, small_spec(teacher=given), other_classes, place, models=models)
        == "incompatible"
    )
    stated = {**given, "architecture": {"name": "mlp", "width": 9}}
    assert (
        refused(IncompatibleError, small_spec(teacher=stated), data, place, models=models) == "incompatible"
    )
    assert refused(ModelFileError, small_spec(teacher=given), data, place) == "not_found"
    nowhere = {"teacher": tmp_path / "nowhere"}
    assert refused(ModelFileError, small_spec(teacher=given), data, place, models=nowhere) == "not_found"
    bare = {"teacher": out / "teacher" / "model.safetensors"}
    assert refused(ModelFileError, small_spec(teacher=given), data, place, models=bare) == "missing_field"
    wrong_modality = {"modality": "wave", "model": "teacher"}
    assert refused(InputError, small_spec(teacher=wrong_modality), data, place, models=models)
    tampered = tmp_path / "tampered"
    shutil.copytree(out / "teacher", tampered)
    weights = bytearray((tampered / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tampered / "model.safetensors").write_bytes(weights)
    assert (
        refused(ModelFileError, small_spec(teacher=given), data, place, models={"teacher": tampered})
        == "hash_mismatch"
    )


def test_output_folders_are_never_mixed(finished: Any, data: Path, tmp_path: Path) -> None:
    out, _, _ = finished
    assert refused(SpecError, small_spec(name="another"), data, out) == "output_in_use"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    assert refused(SpecError, small_spec(), data, foreign) == "output_in_use"
    assert [path.name for path in foreign.iterdir() if path.name != ".lock"] == ["thesis.tex"]
    file = tmp_path / "file"
    file.write_text("")
    assert refused(SpecError, small_spec(), data, file) == "output_in_use"


def test_unknown_modalities_and_devices_are_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert refused(InputError, small_spec(student={"modality": "smell"}), data, out) == "missing_column"
    assert refused(InputError, small_spec(), data, out, device="tpu") == "not_allowed"
    if not torch.cuda.is_available():
        assert refused(InputError, small_spec(), data, out, device="cuda") == "not_available"
    assert not out.exists()


def test_a_stop_resumes(finished: Any, data: Path, tmp_path: Path) -> None:
    asked = iter([False] * (STEPS_PER_PHASE + 5) + [True] * 99)
    out = tmp_path / "out"
    with pytest.raises(TrainingInterrupted):
        run(small_spec(), data, out, options=OPTIONS, should_stop=lambda: next(asked))
    assert not (out / "result.json").exists()
    resumed = run(small_spec(), data, out, options=OPTIONS)
    assert resumed.student.weights_sha256 == finished[1].student.weights_sha256
