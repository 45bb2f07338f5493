"""A student that begins with somebody's weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_folders import LABELS, TEXTS, HubModel, pictures, save_hub_folder
from safetensors.torch import load_file, save_file

from fdkd_core.errors import IncompatibleError, ModelFileError
from fdkd_core.models import build_model
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import StudentSpec, load_spec
from fdkd_core.starting_weights import StartingWeights

CLASSES = sorted(LABELS.values())


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HubModel]:
    folder = tmp_path_factory.mktemp("hub") / "vit"
    return folder, save_hub_folder("vit", folder)


def spec_of(modality: str = "x", **fields: Any) -> StudentSpec:
    return StudentSpec(modality=modality, start="hub", **fields)


def loaded(folder: Path, shape: tuple[int, ...], classes: list[str], vocab: int | None = None) -> Any:
    start = StartingWeights(spec_of(), folder)
    torch.manual_seed(1)
    model = build_model(start.architecture, shape, len(classes), vocab)
    start.load_into(model, classes)
    return model.eval(), start


def test_equal_classes_keep_the_last_layer(vit: tuple[Path, HubModel]) -> None:
    folder, theirs = vit
    values = pictures(np.random.default_rng(2))
    model, start = loaded(folder, (3, 32, 32), CLASSES)
    expected = theirs.logits(values)[:, [list(LABELS.values()).index(name) for name in CLASSES]]
    found = model(theirs.prepare(values)["pixel_values"]).logits.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert start.account.startswith("the student begins with 40 tensors")
    assert "drawn" not in start.account


@pytest.mark.parametrize("classes", [["a", "b", "c"], ["a", "b"]])
def test_other_classes_get_another_last_layer(vit: tuple[Path, HubModel], classes: list[str]) -> None:
    folder, _ = vit
    same, _ = loaded(folder, (3, 32, 32), CLASSES)
    model, start = loaded(folder, (3, 32, 32), classes)
    values = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(values).features, same(values).features)
    assert not torch.equal(model.classifier.weight[:2], same.classifier.weight[:2])
    assert start.account.endswith("drawn at random: classifier.bias, classifier.weight")


def test_weights_of_pre_training_will_do(tmp_path: Path) -> None:
    """Without a classifier, a pooler, and the name of the model before each tensor."""
    theirs = save_hub_folder("bert", tmp_path / "bert")
    tensors = load_file(tmp_path / "bert" / "model.safetensors")
    save_file(
        {
            name.removeprefix("bert."): value
            for name, value in tensors.items()
            if not name.startswith(("classifier", "bert.pooler"))
        },
        tmp_path / "bert" / "model.safetensors",
    )
    model, start = loaded(tmp_path / "bert", (16,), ["a", "b"], 17)
    assert start.recipe is not None
    assert start.recipe["input_shape"] == [16]
    assert "encoder.pooler.dense.weight" in start.account
    ids = theirs.prepare(TEXTS)["input_ids"]
    embedded = model.encoder.embeddings.word_embeddings(ids)
    assert torch.equal(embedded, tensors["bert.embeddings.word_embeddings.weight"][ids])


@pytest.mark.parametrize("kind", ["ast", "wav2vec2"])
def test_networks_of_sounds_learn_on_our_own_preprocessing(kind: str, tmp_path: Path) -> None:
    from transformers.models.audio_spectrogram_transformer import ASTConfig, ASTForAudioClassification
    from transformers.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    shape: tuple[int, ...]
    if kind == "ast":
        theirs: Any = ASTForAudioClassification(ASTConfig(**sizes, num_mel_bins=40, max_length=64))
        shape, inputs = (1, 40, 64), torch.randn(2, 1, 40, 64)
        given = inputs[:, 0].transpose(1, 2)
    else:
        convolutions = {"conv_dim": [8, 8], "conv_stride": [5, 2], "conv_kernel": [10, 3]}
        theirs = Wav2Vec2ForSequenceClassification(
            Wav2Vec2Config(
                **sizes, **convolutions, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4
            )
        )
        shape, inputs = (1, 200), torch.randn(2, 1, 200)
        given = inputs[:, 0]
    theirs.eval().save_pretrained(tmp_path / kind)
    model, start = loaded(tmp_path / kind, shape, ["0", "1"])
    assert start.recipe is None
    assert "drawn" not in start.account
    torch.testing.assert_close(model(inputs).logits, theirs(given).logits, rtol=1e-4, atol=1e-6)


def test_what_is_no_start(vit: tuple[Path, HubModel], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as unknown:
        StartingWeights(spec_of(), tmp_path / "absent")
    assert (unknown.value.problems[0].code, unknown.value.problems[0].pointer) == (
        "not_found",
        "/student/start",
    )
    with pytest.raises(IncompatibleError) as other:
        StartingWeights(spec_of(architecture={"name": "conv2d"}), vit[0])
    assert other.value.problems[0].pointer == "/student/architecture"
    with pytest.raises(ModelFileError) as size:
        loaded(vit[0], (3, 40, 40), CLASSES)
    assert size.value.problems[0].code == "wrong_shape"


def write_data(path: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    np.savez(
        path,
        picture=(rng.integers(0, 100, (60, 20, 20, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8),
        vector=(labels[:, None] + rng.normal(size=(60, 4))).astype(np.float32),
        label=np.array(["cat", "dog"])[labels],
        split=np.array(["train"] * 32 + ["val"] * 14 + ["test"] * 14),
    )
    return path


def job(**changes: Any) -> Any:
    training = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "sgd", "lr": 1e-9}}
    document = {
        "kind": "distill", "dataset": "d", "task": {"kind": "classification"},
        "teacher": {"modality": "vector", "train": {"epochs": 1, "batch_size": 8}},
        "student": {"modality": "picture", "start": "hub"},
        "training": training, "export": {"onnx": False},
    }  # fmt: skip
    return load_spec(document | changes)


def test_student_and_control_begin_with_it_and_may_begin_another(
    vit: tuple[Path, HubModel], tmp_path: Path
) -> None:
    data = write_data(tmp_path / "data.npz")
    out, told = tmp_path / "out", []
    options = RunOptions(device="cpu", threads=1, models={"hub": vit[0]})
    result: Any = run(job(), data, out, options=options, on_event=told.append)
    theirs = load_file(vit[0] / "model.safetensors")
    ours = load_file(out / "student" / "model.safetensors")
    torch.testing.assert_close(  # the steps were of 1e-9
        ours["encoder.embeddings.patch_embeddings.projection.weight"],
        theirs["vit.embeddings.patch_embeddings.projection.weight"],
        rtol=0,
        atol=1e-6,
    )
    assert result.student.architecture["name"] == result.control.architecture["name"] == "vit"
    assert any("drawn at random: classifier.bias" in e["message"] for e in told if e["event"] == "warning")

    # What came out is a bundle like any other, with the folder's preprocessing, and may be gone on with.
    options = RunOptions(device="cpu", threads=1, models={"hub": out / "student"})
    spec = {"kind": "train", "dataset": "d", "task": {"kind": "classification"}, "export": {"onnx": False}}
    student = {"modality": "picture", "start": "hub"}
    training = job().training.model_dump(mode="json")
    again: Any = run(
        load_spec({**spec, "student": student, "training": training}),
        data,
        tmp_path / "again",
        options=options,
    )
    assert abs(again.student.test.loss - result.student.test.loss) < 1e-4  # its last layer was kept


def test_one_folder_teaches_and_is_begun_with(vit: tuple[Path, HubModel], tmp_path: Path) -> None:
    """It reads the column in one way, whatever notes either reading has."""
    data = write_data(tmp_path / "data.npz")
    arrays = dict(np.load(data))
    classes = sorted(LABELS.values())
    arrays["label"] = np.array([classes[index % 3] for index in range(60)])
    np.savez(data, **arrays)
    spec = job(teacher={"modality": "picture", "model": "hub"}, controls={"no_teacher": False})
    options = RunOptions(device="cpu", threads=1, models={"hub": vit[0]})
    result: Any = run(spec, data, tmp_path / "out", options=options)
    assert result.teacher.architecture == result.student.architecture
    assert result.student.test.accuracy == result.teacher.test.accuracy  # the steps were of 1e-9


def test_only_jobs_of_one_student(vit: tuple[Path, HubModel], tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.npz")
    options = RunOptions(device="cpu", threads=1, models={"hub": vit[0]})
    with pytest.raises(IncompatibleError) as caught:
        run(job(method={"name": "auto"}), data, tmp_path / "out", options=options)
    assert [(p.code, p.pointer) for p in caught.value.problems] == [("not_supported", "/student/start")]
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with pytest.raises(ModelFileError) as unknown:
        run(job(), data, tmp_path / "out", options=RunOptions(device="cpu", threads=1))
    assert unknown.value.problems[0].code == "not_found"
