"""wav2vec 2.0 on recordings of five seconds: a folder's way through a job, to its student's answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from hub_folders import HubModel, edit, save_hub_folder
from media_files import sound
from safetensors.torch import load_file, save_file

import fdkd_core
from fdkd_core.bundle import load_bundle
from fdkd_core.errors import ModelFileError
from fdkd_core.hugging_face.folder import convert_folder
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import load_spec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.input_axes import MAX_STEPS
from fdkd_core.validate import validate_dataset, validate_model

SAMPLES = 80_000
FORMER_END = 65_536
"""Samples that an input once had at most."""
CLASSES = ["class 0", "class 1", "class 2"]


class Sounds(NamedTuple):
    """A folder, recordings of which it is right about all, and what the package makes of them."""

    folder: Path
    theirs: HubModel
    waves: list[Any]
    labels: list[str]
    data: Path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    """What differs between recordings is what comes after `FORMER_END`; before it there is but noise."""
    place = tmp_path_factory.mktemp("sounds")
    theirs = save_hub_folder("wav2vec2-long", place / "hub", labels=dict(enumerate(CLASSES)))
    rng = np.random.default_rng(0)
    waves = [0.02 * rng.standard_normal(SAMPLES) for _ in range(32)]
    for wave in waves:
        time = np.arange(SAMPLES - FORMER_END) / 16_000
        wave[FORMER_END:] += rng.uniform(0.1, 0.9) * np.sin(2 * np.pi * rng.uniform(100, 6_000) * time)
    recordings = [sound(wave, 16_000) for wave in waves]
    scores = theirs.logits(recordings)
    centre = np.median(scores, axis=0)  # all of one class otherwise
    tensors = load_file(place / "hub" / "model.safetensors")
    tensors["classifier.bias"] -= torch.from_numpy(centre)
    save_file(tensors, place / "hub" / "model.safetensors")
    answers = (scores - centre).argmax(axis=1)
    assert np.bincount(answers, minlength=3).min() > 2
    labels = [CLASSES[answer] for answer in answers]
    table = pyarrow.table(
        {
            "id": [f"row{index}" for index in range(32)],
            "split": ["train"] * 16 + ["val"] * 8 + ["test"] * 8,
            "label": labels,
            "sound": pyarrow.array(recordings, pyarrow.binary()),
        }
    )
    pyarrow.parquet.write_table(table, place / "data.parquet")
    moved = HubModel(theirs.prepare, lambda values: theirs.logits(values) - centre)
    return Sounds(place / "hub", moved, waves, labels, place / "data.parquet")


def job(**changes: Any) -> Any:
    """Its teacher and its student's start are one folder; the steps are too small to forget anything."""
    training = {"epochs": 1, "batch_size": 8, "augment": "none", "optimizer": {"name": "sgd", "lr": 1e-7}}
    document: dict[str, Any] = {
        "kind": "distill", "dataset": "d", "task": {"kind": "classification"},
        "teacher": {"modality": "sound", "model": "hub"}, "student": {"modality": "sound", "start": "hub"},
        "training": training, "export": {"onnx": False, "latency_s": 0.0},
        "controls": {"no_teacher": False},
    }  # fmt: skip
    return load_spec(document | changes)


def test_the_folder_is_the_package_s_network(sounds: Sounds, tmp_path: Path) -> None:
    """Five and a half seconds are cut to five, three are filled up; what is said at the end is heard."""
    convert_folder(sounds.folder, tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.config.input_shape == (1, SAMPLES)
    wave = sounds.waves[0]
    values = [sound(heard, 16_000) for heard in (np.concatenate([wave, wave[:8_000]]), wave[:48_000], wave)]
    inputs = torch.from_numpy(bundle.preprocessor.prepare(values))
    torch.testing.assert_close(
        inputs, sounds.theirs.prepare(values)["input_values"][:, None], rtol=0, atol=1e-6
    )
    with torch.no_grad():
        found = bundle.model(inputs).logits.numpy()
    expected = sounds.theirs.logits(values)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(found[2] - found[1]).max() > 1e-2


def answers(out: Path, sounds: Sounds, backend: Any) -> list[str]:
    recordings = [sound(wave, 16_000) for wave in sounds.waves]
    student = fdkd_core.load_student(out / "student", backend=backend)
    noise = [np.concatenate([wave[:FORMER_END], wave[: SAMPLES - FORMER_END]]) for wave in sounds.waves]
    unheard = [found.label for found in student.predict_many([sound(wave, 16_000) for wave in noise])]
    assert (np.array(unheard) == sounds.labels).mean() < 0.75
    return [found.label for found in student.predict_many(recordings)]


@pytest.mark.long
def test_a_job_teaches_trains_and_hands_over(sounds: Sounds, tmp_path: Path) -> None:
    options = RunOptions(device="cpu", threads=1, models={"hub": sounds.folder})
    result: Any = run(job(), sounds.data, tmp_path / "out", options=options)
    assert result.teacher.test.accuracy == 1.0  # the labels are its own answers
    assert result.student.architecture["name"] == "wav2vec2"
    assert result.student.test.accuracy > 0.9
    assert load_bundle(tmp_path / "out" / "student").config.input_shape == (1, SAMPLES)
    right = np.array(answers(tmp_path / "out", sounds, "torch")) == sounds.labels
    assert right.mean() > 0.9


@pytest.mark.long
def test_its_graph_answers_alike(sounds: Sounds, tmp_path: Path) -> None:
    options = RunOptions(device="cpu", threads=1, models={"hub": sounds.folder})
    spec = job(export={"onnx": True, "latency_s": 2.0})
    result: Any = run(spec, sounds.data, tmp_path / "out", options=options)
    record = json.loads((tmp_path / "out" / "student" / "manifest.json").read_text())["onnx"]
    assert (record["relative_difference"] < 1e-4, record["num_samples"]) == (True, 8)
    assert answers(tmp_path / "out", sounds, "onnx") == answers(tmp_path / "out", sounds, "torch")
    # A batch of 32 such inputs is more than is taken at a time.
    assert [batch.batch_size for batch in result.student.latency.batches] == [1]


def test_half_a_minute_is_the_most(sounds: Sounds, tmp_path: Path) -> None:
    """And a job on it is refused where it cannot fit, before it is queued."""
    longest = Path(shutil.copytree(sounds.folder, tmp_path / "hub"))
    edit(longest, "preprocessor_config.json", max_length=MAX_STEPS + 1)
    with pytest.raises(ModelFileError) as caught:
        convert_folder(longest, tmp_path / "bundle")
    (problem,) = caught.value.problems
    assert (problem.code, problem.pointer) == ("unsupported_preprocessing", "/max_length")
    edit(longest, "preprocessor_config.json", max_length=MAX_STEPS)
    report, model = validate_dataset(sounds.data), validate_model(longest)
    assert model["input_shape"] == [1, MAX_STEPS]
    fits = job()
    assert check(fits, report, model, start_report=model, memory_bytes=64 << 30) == []
    published = {**model, "architecture": {"name": "wav2vec2", "conv_dim": [512] * 7, "hidden_size": 768,
                                           "num_hidden_layers": 12, "num_attention_heads": 12,
                                           "intermediate_size": 3072}}  # fmt: skip
    found = check(fits, report, published, start_report=published, memory_bytes=16 << 30)
    assert [(each.code, each.pointer) for each in found] == [("exceeds_limit", "/student/architecture")]
    assert "GiB" in found[0].detail
    few = job(training={**fits.training.model_dump(mode="json"), "batch_size": 2})
    assert check(few, report, published, start_report=published, memory_bytes=64 << 30) == []
