"""A network that answers once a sample, as what a student begins with that answers by pixel."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_folders import edit, pictures, save_hub_folder
from pixel_hub_folders import save_pixel_folder
from safetensors.torch import load_file, save_file
from scene_data import CLASSES, TRAINING, scene_spec, write_scenes
from small_job import NOTHING_MADE

from fdkd_core.bundle import load_bundle
from fdkd_core.errors import IncompatibleError, ModelFileError
from fdkd_core.hugging_face.folder import convert_folder
from fdkd_core.models import build_model
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import AnyJobSpec, StudentSpec, load_spec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.hugging_face.dense import MobileNetV2DeepLabSpec
from fdkd_core.spec.tasks import SegmentationSpec
from fdkd_core.starting_weights import StartingWeights
from fdkd_core.validate import validate_dataset, validate_model

MASKS = SegmentationSpec()
STEM = "encoder.conv_stem.first_conv.convolution.weight"
OPTIONS = RunOptions(device="cpu", threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV2 for classes, whose preprocessing cuts 32 x 36 from the middle, as downloaded."""
    path = tmp_path_factory.mktemp("hub") / "mobilenet"
    save_hub_folder("mobilenet_v2", path)
    return path


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    """The same as an upload of it is kept."""
    convert_folder(folder, folder.parent / "bundle")
    return folder.parent / "bundle"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("data") / "scenes.npz", 60)


def student(architecture: Any = None) -> StudentSpec:
    return StudentSpec(modality="colour", start="hub", architecture=architecture)


def begun_spec(task: str) -> AnyJobSpec:
    """An epoch of steps too small to see, from the weights of `hub`."""
    return load_spec(
        {"kind": "train", "dataset": "d", "task": {"kind": task},
         "student": {"modality": "colour", "start": "hub"}, "export": NOTHING_MADE,
         "training": {**TRAINING, "epochs": 1, "batch_size": 12, "optimizer": {"name": "sgd", "lr": 1e-9}}}
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "bundle"])
def test_the_encoder_is_taken_and_the_head_is_drawn(kind: str, folder: Path, bundle: Path) -> None:
    start = StartingWeights(student(), folder if kind == "folder" else bundle, MASKS)
    held = load_bundle(bundle)
    assert start.architecture == MobileNetV2DeepLabSpec(
        depth_multiplier=held.architecture.depth_multiplier, tf_padding=held.architecture.tf_padding
    )  # type: ignore[union-attr]
    assert start.recipe is not None
    assert (start.recipe["input_shape"], "shortest_edge" in start.recipe) == ([3, 32, 36], False)
    assert start.recipe["mean"] == held.recipe["mean"]
    assert any("all of a picture as 32 x 36 pixels" in note for note in start.recipe["notes"])

    torch.manual_seed(3)
    model = build_model(start.architecture, (3, 32, 36), 3)
    drawn = {name: value.clone() for name, value in model.state_dict().items()}
    start.load_into(model, CLASSES)
    theirs = held.model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, theirs[name] if name.startswith("encoder.") else drawn[name]), name
    # What the package computes with the same encoder: the maps are those behind its last block.
    values = torch.randn(2, 3, 32, 36)
    ours, reference = model.eval().encoder, held.model.encoder
    x, y = ours.conv_stem(values), reference.conv_stem(values)  # type: ignore[union-attr, operator]
    for index in range(8):  # up to where the strides part
        x, y = ours.layer[index](x), reference.layer[index](y)  # type: ignore[union-attr, index]
        if x.shape != y.shape:
            break
        torch.testing.assert_close(x, y)
    assert index > 2
    taken, left_out, head = start.account.split("; ")
    of_encoder = sum(name.startswith("encoder.") for name in drawn)
    assert taken == f"the student begins with {of_encoder} tensors of the given model"
    assert left_out.startswith("left out of it: classifier.bias, classifier.weight, ")
    assert "conv_1x1.convolution.weight" in left_out
    assert head.startswith("drawn at random: classifier.bias, classifier.weight, head.conv_")


def test_a_head_of_equal_shape_is_still_another(tmp_path: Path) -> None:
    """256 features of a classifier are not the 256 channels of the head, even of the same classes."""
    from transformers.models.mobilenet_v2 import MobileNetV2Config, MobileNetV2ForImageClassification

    save_hub_folder("mobilenet_v2", tmp_path / "hub", labels=dict(enumerate(CLASSES)))
    config = MobileNetV2Config(
        depth_multiplier=0.2, finegrained_output=False, id2label=dict(enumerate(CLASSES))
    )
    MobileNetV2ForImageClassification(config).save_pretrained(tmp_path / "hub")
    assert load_file(tmp_path / "hub" / "model.safetensors")["classifier.weight"].shape == (3, 256)
    convert_folder(tmp_path / "hub", tmp_path / "bundle")
    for name in ("hub", "bundle"):
        start = StartingWeights(student(), tmp_path / name, MASKS)
        model = build_model(start.architecture, (3, 32, 36), 3)
        before = model.classifier.weight.clone()
        start.load_into(model, load_bundle(tmp_path / "bundle").classes)
        assert torch.equal(model.classifier.weight, before)


def test_what_may_be_stated_beside_it(folder: Path, bundle: Path, data: Path) -> None:
    """Stride and dropout of the head; nothing of the encoder. The service says the same from the report."""
    held = load_bundle(bundle).architecture
    fields = {"depth_multiplier": held.depth_multiplier, "tf_padding": held.tf_padding}  # type: ignore[union-attr]
    stated = MobileNetV2DeepLabSpec(**fields, output_stride=16, classifier_dropout_prob=0.0)
    assert StartingWeights(student(stated), folder, MASKS).architecture == stated
    report, model = validate_dataset(data), validate_model(folder)
    assert (model["task"], model["shortest_edge"]) == ("classification", 40)
    spec = scene_spec(student={"modality": "colour", "start": "hub", "architecture": stated.model_dump()})
    assert check(spec, report, start_report=model) == []
    wider = {**stated.model_dump(), "depth_multiplier": 1.5}
    other = scene_spec(student={"modality": "colour", "start": "hub", "architecture": wider})
    (problem,) = check(other, report, start_report=model)
    assert (problem.code, problem.pointer) == ("incompatible", "/student/architecture/depth_multiplier")
    with pytest.raises(IncompatibleError) as caught:
        StartingWeights(other.student, folder, MASKS)
    assert list(caught.value.problems) == [problem]
    fpn = {"name": "conv2d_fpn"}
    another = scene_spec(student={"modality": "colour", "start": "hub", "architecture": fpn})
    (problem,) = check(another, report, start_report=model)
    assert problem.pointer == "/student/architecture"
    # For classes it is what it was, and no other network of its encoder.
    assert StartingWeights(student(), folder).architecture == held
    # Its memory is that of the network by pixel.
    found = check(spec, report, start_report=model, memory_bytes=1 << 20)
    assert ("exceeds_limit", "/student/architecture") in [(each.code, each.pointer) for each in found]


def test_another_reading_of_the_column_is_found(bundle: Path, data: Path) -> None:
    """A teacher that cuts what the student sees whole reads the column otherwise; both are bundles here."""
    report, model = validate_dataset(data), validate_model(bundle)
    taught = {**model, "task": "segmentation", "classes": CLASSES, "shortest_edge": None}
    taught["architecture"] = MobileNetV2DeepLabSpec(depth_multiplier=0.1).model_dump(mode="json")
    spec = scene_spec(
        teacher={"modality": "colour", "model": "t"}, student={"modality": "colour", "start": "hub"}
    )
    other = {**taught, "preprocessing_sha256": "0" * 64}
    assert check(spec, report, other, start_report=model) == []  # found when the job starts
    plain = {**model, "shortest_edge": None}
    (problem,) = check(spec, report, other, start_report=plain)
    assert (problem.code, problem.pointer) == ("incompatible", "/student/start")


@pytest.mark.parametrize("kind", ["folder", "bundle"])
def test_a_job_learns_masks_from_it(
    kind: str, folder: Path, bundle: Path, data: Path, tmp_path: Path
) -> None:
    spec = begun_spec("segmentation")
    told: list[dict[str, Any]] = []
    options = dataclasses.replace(OPTIONS, models={"hub": folder if kind == "folder" else bundle})
    result: Any = run(spec, data, tmp_path / "out", options=options, on_event=told.append)
    assert result.student.architecture["name"] == "mobilenet_v2_deeplab"
    weights = load_file(tmp_path / "out" / "student" / "model.safetensors")
    theirs = load_file(bundle / "model.safetensors")
    torch.testing.assert_close(weights[STEM], theirs[STEM], rtol=0, atol=1e-6)
    assert any("left out of it: classifier" in e["message"] for e in told if e["event"] == "warning")
    student = load_bundle(tmp_path / "out" / "student")
    assert student.recipe["input_shape"] == [3, 32, 36]
    value = pictures(np.random.default_rng(0), 1)
    assert student.preprocessor.prepare(value).shape == (1, 3, 32, 36)


def test_weights_that_do_not_fit_are_refused_at_the_start(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "hub"))
    tensors = load_file(broken / "model.safetensors")
    stem = "mobilenet_v2.conv_stem.first_conv.convolution.weight"
    for changed, code in (
        ({name: value for name, value in tensors.items() if name != stem}, "missing_tensor"),
        ({**tensors, stem: torch.zeros(3, 3, 3, 3)}, "wrong_shape"),
    ):
        save_file(changed, broken / "model.safetensors")
        start = StartingWeights(student(), broken, MASKS)
        with pytest.raises(ModelFileError) as caught:
            start.load_into(build_model(start.architecture, (3, 32, 36), 3), CLASSES)
        (problem,) = caught.value.problems
        assert (problem.code, problem.pointer) == (code, "/student/start")
        assert "conv_stem.first_conv.convolution.weight" in problem.detail
    edit(broken, "config.json", depth_multiplier=3.0)
    with pytest.raises(ModelFileError) as refused:
        StartingWeights(student(), broken, MASKS)
    assert refused.value.problems[0].code == "out_of_range"


def test_a_segformer_for_classes_is_a_start_too(data: Path, tmp_path: Path) -> None:
    """As `mit-b0` is published: the encoder, a layer for ImageNet, and the preprocessing of its day."""
    from transformers.models.segformer import SegformerConfig, SegformerForImageClassification

    hub = tmp_path / "hub"
    save_pixel_folder("segformer", hub, pictures(np.random.default_rng(0)))
    config = SegformerConfig.from_pretrained(hub)
    config.id2label = {index: f"thing {index}" for index in range(1000)}
    encoder = SegformerForImageClassification(config)
    encoder.save_pretrained(hub)
    edit(hub, "preprocessor_config.json", image_processor_type=None, size=32,
         feature_extractor_type="SegformerFeatureExtractor", reduce_labels=False)  # fmt: skip
    spec = begun_spec("segmentation")
    told: list[dict[str, Any]] = []
    options = dataclasses.replace(OPTIONS, models={"hub": hub})
    result: Any = run(spec, data, tmp_path / "out", options=options, on_event=told.append)
    assert result.student.architecture["name"] == "segformer"
    weights = load_file(tmp_path / "out" / "student" / "model.safetensors")
    theirs = encoder.state_dict()
    taken = [name for name in theirs if name.startswith("segformer.")]
    for name in taken:
        ours = f"encoder.{name.removeprefix('segformer.')}"
        torch.testing.assert_close(weights[ours], theirs[name], rtol=0, atol=1e-6)
    (account,) = [e["message"] for e in told if e["event"] == "warning" and "begins with" in e["message"]]
    assert account.startswith(f"the student begins with {len(taken)} tensors of the given model; ")
    assert "left out of it: classifier.bias, classifier.weight; drawn at random: " in account
    # Nothing for a student of classes: that network answers by pixel.
    arrays = dict(np.load(data))
    arrays["label"] = np.array(["a", "b"])[np.arange(60) % 2]
    np.savez(tmp_path / "classes.npz", **{k: v for k, v in arrays.items() if k != "class_names"})
    (tmp_path / "classes.dataset.yaml").write_text("modalities: {depth: {kind: depth}}\n")
    with pytest.raises(IncompatibleError) as caught:
        run(begun_spec("classification"), tmp_path / "classes.npz", tmp_path / "other", options=options)
    assert caught.value.problems[0].pointer == "/student/architecture"
