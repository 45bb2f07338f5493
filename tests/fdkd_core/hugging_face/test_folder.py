"""Folders that the transformers package saved, read as it would read them, or refused."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from hub_folders import KINDS_OF, LABELS, TEXTS, HubModel, edit, pictures, save_hub_folder, sounds
from media_files import sound
from safetensors.torch import load_file, save_file

from fdkd_core.bundle import load_bundle
from fdkd_core.errors import InputError, ModelFileError
from fdkd_core.hugging_face.configuration_file import MODEL_TYPES, PACKAGE_DEFAULTS, read_configuration
from fdkd_core.hugging_face.folder import convert_folder
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import load_spec
from fdkd_core.validate import validate_model

REL_TOL = 1e-4
"""Pixels are scaled in another order here, which a random MobileNetV2 makes a hundred times as much of."""
Saved = Callable[[str], tuple[Path, HubModel]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A folder per network and what the package makes of raw values, made when first asked for."""
    made: dict[str, tuple[Path, HubModel]] = {}

    def get(kind: str) -> tuple[Path, HubModel]:
        if kind not in made:
            folder = tmp_path_factory.mktemp("hub") / kind
            made[kind] = (folder, save_hub_folder(kind, folder))
        return made[kind]

    return get


@pytest.fixture
def folder(saved: Saved, tmp_path: Path) -> Path:
    """A ViT folder to spoil."""
    return Path(shutil.copytree(saved("vit")[0], tmp_path / "vit"))


def raw_values(kind: str) -> list[Any]:
    made = {"text": lambda _: list(TEXTS), "image": pictures, "audio": sounds}
    return list(made[KINDS_OF[kind]](np.random.default_rng(1)))


def as_we_have_it(prepared: dict[str, Any]) -> Any:
    """The package's arguments of a network, in the shape of our inputs."""
    (values,) = (prepared[name] for name in ("input_ids", "pixel_values", "input_values") if name in prepared)
    if "input_values" not in prepared:
        return values
    return (values.transpose(1, 2) if values.ndim == 3 else values)[:, None]


@pytest.mark.parametrize("kind", KINDS_OF)
def test_raw_values_get_the_package_s_logits(kind: str, saved: Saved, tmp_path: Path) -> None:
    """Preprocessing, network and head at once; the classes are in another order here."""
    source, theirs = saved(kind)
    convert_folder(source, tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.classes == sorted(LABELS.values())
    values = raw_values(kind)
    expected = theirs.logits(values)[:, [list(LABELS.values()).index(name) for name in bundle.classes]]
    inputs = torch.from_numpy(bundle.preprocessor.prepare(values))
    prepared = theirs.prepare(values)
    # The package rounds spectra to float32 before it takes their logarithm.
    atol = 1e-6 if kind != "ast" else 1e-4
    torch.testing.assert_close(inputs, as_we_have_it(prepared), rtol=0, atol=atol)
    found = bundle.model(inputs).logits.detach().numpy()
    assert np.ptp(expected, axis=1).min() > 1e-2
    assert np.abs(found - expected).max() <= REL_TOL * np.abs(expected).max()
    assert all(len(note) <= 400 for note in bundle.recipe["notes"])
    assert bundle.recipe["notes"][0].startswith("from ")


def test_half_precision_and_old_names(saved: Saved, tmp_path: Path) -> None:
    """BERT as the hub has had it since 2018: float16, gamma and beta, a buffer that is none any more."""
    source, theirs = saved("bert")
    old = Path(shutil.copytree(source, tmp_path / "old"))
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): (
            value.half()
        )
        for name, value in load_file(source / "model.safetensors").items()
    }
    tensors["bert.embeddings.position_ids"] = torch.arange(16)
    tensors["cls.predictions.bias"] = torch.zeros(3)
    save_file(tensors, old / "model.safetensors")
    convert_folder(old, tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert next(bundle.model.parameters()).dtype == torch.float32
    expected = theirs.logits(TEXTS)[:, [list(LABELS.values()).index(name) for name in bundle.classes]]
    found = bundle.model(torch.from_numpy(bundle.preprocessor.prepare(TEXTS))).logits.detach().numpy()
    assert 0 < np.abs(found - expected).max() <= 1e-2 * np.abs(expected).max()
    assert any("2 tensors left out" in note for note in bundle.recipe["notes"])


def test_long_texts_keep_their_end_mark(saved: Saved, tmp_path: Path) -> None:
    convert_folder(saved("distilbert")[0], tmp_path / "bundle")
    preprocessor = load_bundle(tmp_path / "bundle").preprocessor
    ids = preprocessor.prepare(["bad " * 40, "bad", ""])
    assert ids[0].tolist() == [2, *[8] * 14, 3]
    assert ids[1].tolist() == [2, 8, 3, *[0] * 13]
    assert ids[2].tolist() == [2, 3, *[0] * 14]


def test_classes_without_names_are_numbers(folder: Path, tmp_path: Path) -> None:
    edit(folder, "config.json", id2label={str(index): f"LABEL_{index}" for index in range(3)})
    convert_folder(folder, tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").classes == ["0", "1", "2"]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_what_a_missing_key_means(model_type: str) -> None:
    """Our table of the package's defaults against the package."""
    from transformers import AutoConfig

    theirs = AutoConfig.for_model(model_type).to_dict()
    spec = read_configuration({"model_type": model_type}).architecture
    assert set(PACKAGE_DEFAULTS[type(spec)]) <= set(type(spec).model_fields)
    for name, value in spec.model_dump(mode="json", exclude={"name"}).items():
        wanted = theirs[name]
        assert value == (list(wanted) if isinstance(wanted, tuple) else wanted), name


def refusal(folder: Path) -> tuple[str, str | None]:
    with pytest.raises(ModelFileError) as caught:
        convert_folder(folder, folder.parent / "bundle")
    assert not (folder.parent / "bundle").exists()
    assert all(len(problem.detail) < 500 for problem in caught.value.problems)
    return caught.value.problems[0].code, caught.value.problems[0].pointer


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"auto_map": {"AutoModel": "code.Net"}}, "not_allowed", "/auto_map"),
        ({"model_type": "gpt2"}, "not_allowed", "/model_type"),
        ({"model_type": ["vit"]}, "not_allowed", "/model_type"),
        ({"hidden_size": 1_000_000}, "out_of_range", "/hidden_size"),
        ({"hidden_size": 2048, "num_hidden_layers": 48}, "exceeds_limit", "/architecture"),
        ({"hidden_size": "32"}, "wrong_type", "/hidden_size"),
        ({"hidden_act": "python"}, "not_allowed", "/hidden_act"),
        ({"num_attention_heads": 3}, "incompatible", "/architecture/num_attention_heads"),
        ({"num_hidden_layers": 3}, "missing_tensor", None),
        ({"patch_size": 4}, "wrong_shape", None),
        ({"problem_type": "multi_label_classification"}, "not_allowed", "/problem_type"),
        ({"quantization_config": {"bits": 4}}, "not_allowed", "/quantization_config"),
        ({"num_channels": 4}, "out_of_range", "/num_channels"),
        ({"id2label": {"0": "a", "1": "b"}}, "invalid_value", None),
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, "invalid_value", "/id2label"),
        ({"id2label": {"0": "a", "7": "c", "2": "b"}}, "invalid_value", "/id2label"),
        ({"model_type": "wav2vec2"}, "unsupported_preprocessing", "/feature_extractor_type"),
        ({"model_type": "audio-spectrogram-transformer"}, "unsupported_preprocessing",
         "/feature_extractor_type"),
    ],
)  # fmt: skip
def test_configurations_that_are_refused(folder: Path, changes: Any, code: str, pointer: str | None) -> None:
    edit(folder, "config.json", **changes)
    assert refusal(folder) == (code, pointer)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"image_processor_type": "SegformerImageProcessor"}, "/image_processor_type"),
        ({"resample": 1}, "/resample"),
        ({"do_resize": False}, "/do_resize"),
        ({"size": {"shortest_edge": 32}}, "/size"),
        ({"size": {"height": 32, "width": 100_000}}, "/size"),
        ({"do_center_crop": True, "crop_size": 40, "size": {"shortest_edge": 32}}, "/size"),
        ({"image_mean": [0.5]}, "/image_mean"),
        ({"image_std": [0.5, 0.0, 0.5]}, "/image_std"),
        ({"rescale_factor": "1"}, "/rescale_factor"),
    ],
)
def test_preprocessing_that_is_not_done_here(folder: Path, changes: Any, pointer: str) -> None:
    edit(folder, "preprocessor_config.json", **changes)
    assert refusal(folder) == ("unsupported_preprocessing", pointer)


@pytest.mark.parametrize(
    ("kind", "changes", "pointer"),
    [
        ("ast", {"sampling_rate": 8_000}, "/sampling_rate"),
        ("ast", {"num_mel_bins": 1_000}, "/num_mel_bins"),
        ("ast", {"max_length": 1 << 20}, "/max_length"),
        ("ast", {"std": 0.0}, "/std"),
        ("ast", {"mean": "0"}, "/mean"),
        ("ast", {"feature_extractor_type": "WhisperFeatureExtractor"}, "/feature_extractor_type"),
        ("wav2vec2", {"max_length": None}, "/max_length"),
        ("wav2vec2", {"max_length": 1 << 20}, "/max_length"),
        ("wav2vec2", {"sampling_rate": 1e9}, "/sampling_rate"),
        ("wav2vec2", {"padding_value": 1.0}, "/padding_value"),
        ("wav2vec2", {"padding_side": "left"}, "/padding_side"),
        ("wav2vec2", {"feature_size": 2}, "/feature_size"),
    ],
)
def test_extractors_of_sounds_that_are_not_done_here(
    kind: str, changes: Any, pointer: str, saved: Saved, tmp_path: Path
) -> None:
    spoilt = Path(shutil.copytree(saved(kind)[0], tmp_path / kind))
    edit(spoilt, "preprocessor_config.json", **changes)
    assert refusal(spoilt) == ("unsupported_preprocessing", pointer)


def test_a_network_that_wants_its_padding_hidden_is_refused(saved: Saved, tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(saved("wav2vec2")[0], tmp_path / "wav2vec2"))
    edit(spoilt, "preprocessor_config.json", return_attention_mask=True)
    convert_folder(spoilt, tmp_path / "of a group norm")  # which the package itself runs without a mask
    edit(spoilt, "config.json", feat_extract_norm="layer")
    assert refusal(spoilt) == ("unsupported_preprocessing", "/return_attention_mask")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("pytorch_model.bin", b"\x80\x04.", "unsafe_format"),
        ("modeling_mine.py", b"import os", "unsafe_format"),
        ("tf_model.h5", b"\x89HDF", "unsafe_format"),
        ("model.safetensors", b"\x80\x04 a pickle", "unsafe_format"),
        ("config.json", b"{", "invalid_json"),
        ("config.json", b'{"model_type": "vit", "model_type": "vit"}', "invalid_json"),
        ("model.safetensors", None, "not_found"),
        ("preprocessor_config.json", None, "not_found"),
    ],
)
def test_files_that_are_refused(folder: Path, name: str, content: bytes | None, code: str) -> None:
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_bytes(content)
    assert refusal(folder)[0] == code


def test_weights_without_a_classifier_cannot_teach(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if "classifier" not in n}, folder / "model.safetensors")
    assert refusal(folder) == ("missing_tensor", None)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}}, "not_allowed"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "not_allowed"),
        ({"post_processor": None}, "not_allowed"),
        ({"model": {"type": "WordPiece", "vocab": {"[UNK]": 0}}}, "invalid_tokenizer"),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "invalid_tokenizer"),
    ],
)
def test_tokenisers_that_are_not_bert_s(changes: Any, code: str, saved: Saved, tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(saved("bert")[0], tmp_path / "bert"))
    edit(spoilt, "tokenizer.json", **changes)
    assert refusal(spoilt)[0] == code


def test_a_zip_becomes_a_bundle(saved: Saved, tmp_path: Path) -> None:
    archive = tmp_path / "hub.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in saved("vit")[0].iterdir():
            file.write(path, path.name)
        file.writestr("README.md", "a card")
        file.writestr("onnx/model.onnx", "left alone")
    report = validate_model(archive, unpack=tmp_path / "unpacked")
    assert report["format"] == "bundle"
    assert report["architecture"]["name"] == "vit"
    assert report["classes"] == sorted(LABELS.values())
    assert report["notes"][0].startswith("from preprocessor_config.json: 32 x 32 pixels")
    assert load_bundle(tmp_path / "unpacked").classes == report["classes"]
    assert {path.name for path in (tmp_path / "unpacked").iterdir()} == {
        "config.json", "model.safetensors", "preprocess.json", "labels.json",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert validate_model(saved("vit")[0]) == report


def test_it_teaches(saved: Saved, tmp_path: Path) -> None:
    """From the folder as it is, by its own labels and its own preprocessing."""
    source, theirs = saved("vit")
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (60, 40, 32, 3)).astype(np.uint8)
    labels = theirs.logits(list(values)).argmax(axis=1)
    vectors = np.eye(3)[labels] + 0.1 * rng.normal(size=(60, 3))
    np.savez(
        tmp_path / "data.npz",
        picture=values,
        vector=vectors.astype(np.float32),
        label=np.array([LABELS[label] for label in labels]),
        split=np.array(["train"] * 32 + ["val"] * 14 + ["test"] * 14),
    )
    document: dict[str, Any] = {
        "kind": "distill", "dataset": "d", "task": {"kind": "classification"},
        "teacher": {"modality": "picture", "model": "hub"}, "student": {"modality": "vector"},
        "training": {"epochs": 1, "batch_size": 8}, "export": {"onnx": False},
        "controls": {"no_teacher": False},
    }  # fmt: skip
    options = RunOptions(device="cpu", threads=1, models={"hub": source})
    result: Any = run(load_spec(document), tmp_path / "data.npz", tmp_path / "out", options=options)
    assert result.teacher.epochs == 0
    assert result.teacher.test.accuracy == 1.0  # the labels are its own answers
    job = json.loads((tmp_path / "out" / "job.json").read_text())
    assert job["spec"]["teacher"]["architecture"]["name"] == "vit"

    edited = Path(shutil.copytree(source, tmp_path / "edited"))
    edit(edited, "config.json", id2label={"0": "cat", "1": "dog", "2": "cow"})
    options = RunOptions(device="cpu", threads=1, models={"hub": edited})
    with pytest.raises(InputError) as caught:
        run(load_spec(document), tmp_path / "data.npz", tmp_path / "other", options=options)
    assert [(p.code, p.pointer) for p in caught.value.problems] == [("incompatible", "/teacher/model")]


@pytest.mark.parametrize("kind", ["ast", "wav2vec2"])
def test_networks_of_sounds_teach(kind: str, saved: Saved, tmp_path: Path) -> None:
    """Recordings of 16 kHz and, here and there, of another rate, heard as the package would hear them."""
    source, theirs = saved(kind)
    rng = np.random.default_rng(0)
    waves = [
        rng.uniform(0.1, 0.5) * np.sin(2 * np.pi * rng.uniform(200, 6_000) * np.arange(3_000) / 16_000)
        + rng.uniform(0, 0.1) * rng.standard_normal(3_000)
        for _ in range(48)
    ]
    recordings = [sound(wave, 16_000) for wave in waves]
    scores = theirs.logits(recordings)
    answers = (scores - scores.mean(axis=0)).argmax(axis=1)  # all of one class otherwise
    assert np.bincount(answers, minlength=3).min() > 3
    recordings[3] = sound(waves[3][::2], 8_000)  # one of the training rows
    table = pyarrow.table(
        {
            "id": [f"row{index}" for index in range(48)],
            "split": ["train"] * 24 + ["val"] * 12 + ["test"] * 12,
            "label": [f"class {answer}" for answer in answers],
            "sound": pyarrow.array(recordings, pyarrow.binary()),
            "vector": list((np.eye(3)[answers] + 0.1 * rng.normal(size=(48, 3))).astype(np.float32)),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "data.parquet")
    named = Path(shutil.copytree(source, tmp_path / kind))
    edit(named, "config.json", id2label={str(index): f"class {index}" for index in range(3)})
    head = "classifier.dense.bias" if kind == "ast" else "classifier.bias"
    tensors = load_file(named / "model.safetensors")
    tensors[head] -= torch.from_numpy(scores.mean(axis=0))
    save_file(tensors, named / "model.safetensors")
    document: dict[str, Any] = {
        "kind": "distill", "dataset": "d", "task": {"kind": "classification"},
        "teacher": {"modality": "sound", "model": "hub"}, "student": {"modality": "vector"},
        "training": {"epochs": 1, "batch_size": 8}, "export": {"onnx": False, "latency_s": 0.0},
        "controls": {"no_teacher": False},
    }  # fmt: skip
    options = RunOptions(device="cpu", threads=1, models={"hub": named})
    result: Any = run(load_spec(document), tmp_path / "data.parquet", tmp_path / "out", options=options)
    assert result.teacher.test.accuracy == 1.0  # the labels are its own answers
    assert result.teacher.val.accuracy == 1.0
