"""Folders of the hub whose networks answer by pixel: as the package runs them, as teacher, start, refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_folders import HubModel, edit, pictures
from pixel_hub_folders import KINDS, LABELS, SIDE, SIZES, STRIDES, save_pixel_folder
from safetensors.torch import load_file, save_file
from scene_data import CLASSES, TRAINING, scene_spec, write_scenes
from small_job import NOTHING_MADE

import fdkd_core
from fdkd_core.bundle import load_bundle
from fdkd_core.data.dataset import load_dataset
from fdkd_core.errors import InputError, ModelFileError
from fdkd_core.hugging_face.configuration_file import PACKAGE_DEFAULTS, read_configuration
from fdkd_core.hugging_face.folder import convert_folder
from fdkd_core.models import build_model
from fdkd_core.options import RunOptions
from fdkd_core.run import run
from fdkd_core.spec import StudentSpec, TrainSpec, load_spec
from fdkd_core.spec.compatibility import check
from fdkd_core.spec.hugging_face.dense import MobileNetV2DeepLabSpec
from fdkd_core.spec.result import RunResult
from fdkd_core.starting_weights import StartingWeights
from fdkd_core.validate import validate_dataset, validate_model

JOB_KINDS = [kind for kind in KINDS if kind != "deeplab-coarse"]
"""Those that jobs are made of: a coarser map of the same network is nothing else to a job."""
Saved = Callable[[str], tuple[Path, HubModel]]
Wide = tuple[Path, RunOptions]
"""Wide scenes whose masks are a folder's own answers, and the options that know it as `hub`."""
OPTIONS = RunOptions(device="cpu", threads=1)
SHORT: dict[str, Any] = {"training": {**TRAINING, "epochs": 1}, "controls": {"no_teacher": False}}
OTHERS = {index: f"thing {index}" for index in range(150)}
"""As many classes as ADE20K has."""


@pytest.fixture(scope="module")
def saved(data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A folder per network and what the package makes of pictures."""
    made: dict[str, tuple[Path, HubModel]] = {}

    def get(kind: str) -> tuple[Path, HubModel]:
        if kind not in made:
            folder = tmp_path_factory.mktemp("hub") / kind
            made[kind] = (folder, save_pixel_folder(kind, folder, list(np.load(data(kind))["colour"])))
        return made[kind]

    return get


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Scenes that a kind of folder sees all of: 24 x 24, or 18 x 24."""
    square = write_scenes(tmp_path_factory.mktemp("data") / "scenes.npz", 60)
    wide = wider(square, square.with_name("wide.npz"))
    return lambda kind: wide if kind.endswith("-wide") else square


def wider(square: Path, wide: Path) -> Path:
    """The same scenes without their lower quarter."""
    arrays = dict(np.load(square))
    np.savez(wide, **{**arrays, **{name: arrays[name][:, :18] for name in ("colour", "depth", "label")}})
    shutil.copy(square.with_name(f"{square.stem}.dataset.yaml"), wide.with_name(f"{wide.stem}.dataset.yaml"))
    return wide


@pytest.fixture
def folder(saved: Saved, tmp_path: Path) -> Path:
    """A SegFormer to spoil."""
    return Path(shutil.copytree(saved("segformer")[0], tmp_path / "segformer"))


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_get_the_package_s_logits(kind: str, saved: Saved, tmp_path: Path) -> None:
    """Preprocessing, network and head at once, pictures of several shapes; classes as they are.

    Where the cut is wide, some of these pictures lose their ends, and others get black ones.
    """
    source, theirs = saved(kind)
    convert_folder(source, tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.classes == list(LABELS.values()) == CLASSES
    assert (bundle.config.task.kind, bundle.model.is_dense) == ("segmentation", True)
    values = pictures(np.random.default_rng(1))
    inputs = torch.from_numpy(bundle.preprocessor.prepare(values))
    torch.testing.assert_close(inputs, theirs.prepare(values)["pixel_values"], rtol=0, atol=1e-6)
    expected = theirs.logits(values)
    with torch.no_grad():
        found = bundle.model(inputs).logits.numpy()
    stride = STRIDES[kind]
    assert found.shape == expected.shape == (3, 3, *(side // stride for side in SIZES[kind]))
    assert np.median(np.ptp(expected, axis=1)) > 1e-1
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    notes = bundle.recipe["notes"]
    assert any("do_reduce_labels" in note for note in notes) == (kind == "segformer")
    assert all(len(note) <= 400 for note in notes)


def test_names_as_the_package_has_them_inside(folder: Path, tmp_path: Path) -> None:
    """Files are written under the names of 2021 to this day; who saves a state dict has those of today."""
    from transformers.models.segformer import SegformerForSemanticSegmentation

    theirs: Any = SegformerForSemanticSegmentation.from_pretrained(folder)
    convert_folder(folder, tmp_path / "old")
    assert any("decode_head.linear_c" in name for name in load_file(folder / "model.safetensors"))
    save_file({n: t.contiguous() for n, t in theirs.state_dict().items()}, folder / "model.safetensors")
    convert_folder(folder, tmp_path / "new")
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("old", "new"))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_what_a_missing_key_means() -> None:
    from transformers import AutoConfig

    theirs = AutoConfig.for_model("mobilenet_v2").to_dict()
    document = {"model_type": "mobilenet_v2", "architectures": ["MobileNetV2ForSemanticSegmentation"]}
    spec = read_configuration(document).architecture
    assert PACKAGE_DEFAULTS[MobileNetV2DeepLabSpec].keys() <= type(spec).model_fields.keys()
    assert {name: theirs[name] for name in spec.model_dump(exclude={"name"})} == spec.model_dump(
        exclude={"name"}
    )
    assert spec == MobileNetV2DeepLabSpec(
        depth_multiplier=1.0, output_stride=32, classifier_dropout_prob=0.8
    )  # as the package's is without a word
    with pytest.raises(ModelFileError) as caught:
        read_configuration({**document, "output_stride": 64})
    assert [problem.pointer for problem in caught.value.problems] == ["/output_stride"]
    plain = read_configuration({**document, "architectures": ["MobileNetV2ForImageClassification"]})
    assert (plain.architecture.name, plain.by_pixel) == ("mobilenet_v2", False)


def refusal(folder: Path) -> tuple[str, str | None, str]:
    with pytest.raises(ModelFileError) as caught:
        convert_folder(folder, folder.parent / "bundle")
    assert not (folder.parent / "bundle").exists()
    (problem, *_) = caught.value.problems
    return problem.code, problem.pointer, problem.detail


@pytest.mark.parametrize(
    ("name", "changes", "code", "pointer"),
    [
        ("config.json", {"num_encoder_blocks": 4}, "not_allowed", "/num_encoder_blocks"),
        ("config.json", {"reshape_last_stage": False}, "not_allowed", "/reshape_last_stage"),
        ("config.json", {"decoder_hidden_size": 24}, "wrong_shape", None),
        ("config.json", {"hidden_sizes": [8, 10_000_000]}, "out_of_range", "/hidden_sizes/1"),
        ("config.json", {"sr_ratios": [2]}, "incompatible", "/architecture/sr_ratios"),
        ("config.json", {"id2label": {"0": "a", "1": "b"}}, "invalid_value", None),
        ("preprocessor_config.json", {"size": {"shortest_edge": 32}}, "unsupported_preprocessing", "/size"),
        ("preprocessor_config.json", {"do_resize": False}, "unsupported_preprocessing", "/do_resize"),
        ("preprocessor_config.json", {"image_processor_type": "BeitImageProcessor"},
         "unsupported_preprocessing", "/image_processor_type"),
        ("preprocessor_config.json",
         {"image_processor_type": "MobileNetV2ImageProcessor", "do_center_crop": True,
          "size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
         "unsupported_preprocessing", "/crop_size"),
    ],
)  # fmt: skip
def test_what_is_refused(folder: Path, name: str, changes: Any, code: str, pointer: str | None) -> None:
    edit(folder, name, **changes)
    assert refusal(folder)[:2] == (code, pointer)


def test_tensors_that_lack_or_are_too_many_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"decode_head.auxiliary.weight": torch.ones(2)}, path)
    code, _, detail = refusal(folder)
    assert (code, "decode_head.auxiliary.weight" in detail) == ("unexpected_tensor", True)
    save_file({n: t for n, t in tensors.items() if n != "decode_head.linear_fuse.weight"}, path)
    code, _, detail = refusal(folder)
    assert (code, "head.linear_fuse.weight" in detail) == ("missing_tensor", True)
    path.write_bytes(b"\x80\x04 a pickle")
    assert refusal(folder)[0] == "unsafe_format"


def test_a_network_for_classes_is_none_for_masks(tmp_path: Path) -> None:
    """The published encoders: nothing to teach with, but something to begin with."""
    from transformers.models.segformer import SegformerConfig, SegformerForImageClassification

    save_pixel_folder("segformer", tmp_path / "hub", pictures(np.random.default_rng(0)))
    config = SegformerConfig.from_pretrained(tmp_path / "hub")
    encoder = SegformerForImageClassification(config)
    encoder.save_pretrained(tmp_path / "hub")
    code, _, detail = refusal(tmp_path / "hub")
    assert (code, "classifier" in detail) == ("missing_tensor", True)
    start = StartingWeights(StudentSpec(modality="colour", start="hub"), tmp_path / "hub")
    model = build_model(start.architecture, (3, SIDE, SIDE), 3)
    before = model.get_parameter("head.linear_fuse.weight").clone()
    start.load_into(model, CLASSES)
    theirs = encoder.state_dict()["segformer.stages.0.patch_embeddings.proj.weight"]
    assert torch.equal(model.state_dict()["encoder.stages.0.patch_embeddings.proj.weight"], theirs)
    assert torch.equal(model.get_parameter("head.linear_fuse.weight"), before)
    assert "drawn at random: classifier.bias, classifier.weight, head." in start.account


def scene_labels(theirs: HubModel, source: Path, target: Path) -> Path:
    """The scenes, with masks that are the network's own answers."""
    arrays = dict(np.load(source))
    logits = torch.from_numpy(theirs.logits(list(arrays["colour"])))
    size = arrays["label"].shape[1:]
    enlarged = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    answers = enlarged.argmax(dim=1).numpy().astype(np.uint8)
    assert np.bincount(answers.reshape(-1)).max() < 0.7 * answers.size  # nothing is right by one class alone
    np.savez(target, **{**arrays, "label": answers})
    settings = source.with_name(f"{source.stem}.dataset.yaml")
    shutil.copy(settings, target.with_name(f"{target.stem}.dataset.yaml"))
    return target


@pytest.mark.parametrize("kind", JOB_KINDS)
def test_it_teaches(kind: str, saved: Saved, data: Callable[[str], Path], tmp_path: Path) -> None:
    """By its own labels it is right everywhere: input and classes lie as they should."""
    source, theirs = saved(kind)
    own = scene_labels(theirs, data(kind), tmp_path / "own.npz")
    options = dataclasses.replace(OPTIONS, models={"hub": source})
    student = {"modality": "depth", "architecture": {"name": "mobilenet_v2_deeplab", "depth_multiplier": 0.1}}
    spec = scene_spec(
        teacher={"modality": "colour", "model": "hub"}, student=student, method={"name": "cirkd"}, **SHORT
    )
    result = run(spec, own, tmp_path / "out", options=options)
    assert isinstance(result, RunResult)
    assert result.teacher is not None
    assert result.teacher.test.pixel_accuracy > 0.999
    assert result.teacher.epochs == 0
    assert np.isfinite(result.student.test.loss)


@pytest.fixture
def wide(saved: Saved, data: Callable[[str], Path], tmp_path: Path) -> Wide:
    source, theirs = saved("deeplab-wide")
    own = scene_labels(theirs, data("deeplab-wide"), tmp_path / "own.npz")
    return own, dataclasses.replace(OPTIONS, models={"hub": source})


def begun_spec(export: dict[str, Any]) -> TrainSpec:
    """An epoch of small steps from the weights of `hub`."""
    spec = load_spec(
        {"kind": "train", "dataset": "d", "task": {"kind": "segmentation"},
         "student": {"modality": "colour", "start": "hub"}, "export": export,
         "training": {**TRAINING, "epochs": 1, "batch_size": 12, "optimizer": {"name": "sgd", "lr": 1e-6}}}
    )  # fmt: skip
    assert isinstance(spec, TrainSpec)
    return spec


@pytest.mark.parametrize("kind", JOB_KINDS)
def test_a_student_begins_with_it(
    kind: str, saved: Saved, data: Callable[[str], Path], tmp_path: Path
) -> None:
    """What the network knows it has not forgotten after an epoch of small steps, its last layer included."""
    source, theirs = saved(kind)
    own = scene_labels(theirs, data(kind), tmp_path / "own.npz")
    spec = begun_spec(NOTHING_MADE)
    options = dataclasses.replace(OPTIONS, models={"hub": source})
    result = run(spec, own, tmp_path / "out", options=options)
    assert isinstance(result, RunResult)
    name = "segformer" if kind == "segformer" else "mobilenet_v2_deeplab"
    assert result.student.architecture["name"] == name
    assert result.student.test.pixel_accuracy > 0.75


def test_classes_of_others(data: Callable[[str], Path], tmp_path: Path) -> None:
    """A network of 150 classes: no teacher of three, but a start whose last layer is drawn anew."""
    save_pixel_folder("segformer", tmp_path / "hub", pictures(np.random.default_rng(0)), labels=OTHERS)
    model, report = validate_model(tmp_path / "hub"), validate_dataset(data("segformer"))
    assert (model["task"], len(model["classes"])) == ("segmentation", 150)
    (problem,) = check(scene_spec(teacher={"modality": "colour", "model": "hub"}), report, model)
    assert (problem.code, problem.pointer) == ("incompatible", "/teacher/model")
    assert "the teacher knows the classes ['thing 0'" in problem.detail
    begun = scene_spec(student={"modality": "colour", "start": "hub"})
    assert check(begun, report, start_report=model) == []
    (problem,) = check(begun, report, start_report=model, memory_bytes=1 << 20)[:1]
    assert problem.code == "exceeds_limit"
    start = StartingWeights(begun.student, tmp_path / "hub")
    network = build_model(start.architecture, (3, SIDE, SIDE), 3)
    start.load_into(network, CLASSES)
    assert start.account.endswith("drawn at random: classifier.bias, classifier.weight")
    # Its names in another order are other masks.
    edit(tmp_path / "hub", "config.json", id2label={str(i): name for i, name in enumerate(CLASSES)})
    with pytest.raises(ModelFileError, match="names 3 classes; the classifier has 150"):
        validate_model(tmp_path / "hub")


def test_pictures_that_would_be_cut(saved: Saved, data: Callable[[str], Path], tmp_path: Path) -> None:
    """What DeepLab's preprocessing cuts off a picture of other proportions, the mask still has."""
    models = {kind: validate_model(saved(kind)[0]) for kind in JOB_KINDS}
    assert [models[kind]["shortest_edge"] for kind in JOB_KINDS] == [None, SIDE, 24]
    reports = {kind: validate_dataset(data(kind)) for kind in ("deeplab", "deeplab-wide")}
    square, wide = reports.values()
    assert wide["modalities"]["colour"]["proportions"] == [24 / 18, 24 / 18]
    spec = scene_spec(teacher={"modality": "colour", "model": "hub"}, **SHORT)
    begun = scene_spec(student={"modality": "colour", "start": "hub"}, **SHORT)
    for kind, report in reports.items():
        assert check(spec, report, models[kind]) == check(begun, report, start_report=models[kind]) == []
    (problem,) = check(spec, wide, models["deeplab"])
    assert (problem.code, problem.pointer) == ("incompatible", "/teacher/model")
    # The advice is what the other folder has, but for its scale.
    assert "a `crop_size` of 32 x 43 in preprocessor_config.json" in problem.detail
    (problem,) = check(spec, square, models["deeplab-wide"])
    assert "24 x 32 in the middle of pictures" in problem.detail
    (problem,) = check(begun, wide, start_report=models["deeplab"])
    assert problem.pointer == "/student/start"
    several = copy.deepcopy(wide)
    several["modalities"]["colour"]["proportions"] = [0.75, 4 / 3]  # upright ones among them
    (problem,) = check(spec, several, models["deeplab-wide"])
    assert "No cut shows all of each" in problem.detail
    options = dataclasses.replace(OPTIONS, models={"hub": saved("deeplab")[0]})
    for job, pointer in ((spec, "/teacher/model"), (begun, "/student/start")):
        with pytest.raises(InputError) as caught:
            run(job, data("deeplab-wide"), tmp_path / "out", options=options)
        assert [found.pointer for found in caught.value.problems] == [pointer]
    assert check(spec, wide, models["segformer"]) == []  # it scales both sides on their own
    loaded = load_dataset(data("deeplab-wide"), ["colour"], task=spec.task)
    assert loaded.report["mask_shape"] == [18, 24]


def answered(out: Path, own: Path, result: Any, backend: Any) -> None:
    """A student of wide pictures answers at height and width of its own, as well as the result says."""
    arrays = dict(np.load(own))
    test = arrays["split"] == "test"
    found = fdkd_core.load_student(out / "student", backend=backend).predict_many(
        list(arrays["colour"][test])
    )
    masks = np.stack([prediction.mask for prediction in found])
    assert masks.shape == (test.sum(), *SIZES["deeplab-wide"])
    # The masks of the data are 18 x 24, those that it answers with 24 x 32.
    rows, columns = (np.arange(18) + 0.5) * 24 / 18, (np.arange(24) + 0.5) * 32 / 24
    at_size = masks[:, rows.astype(int)][:, :, columns.astype(int)]
    right = (at_size == arrays["label"][test]).mean()
    assert right == pytest.approx(result.student.test.pixel_accuracy, abs=0.05)
    assert result.student.test.pixel_accuracy > 0.75


def test_a_student_of_wide_pictures_answers(wide: Wide, tmp_path: Path) -> None:
    own, options = wide
    result = run(begun_spec(NOTHING_MADE), own, tmp_path / "out", options=options)
    answered(tmp_path / "out", own, result, "torch")


@pytest.mark.long
def test_so_does_its_graph(wide: Wide, tmp_path: Path) -> None:
    own, options = wide
    result = run(begun_spec({"onnx": True, "latency_s": 0.0}), own, tmp_path / "out", options=options)
    answered(tmp_path / "out", own, result, "onnx")
    record = json.loads((tmp_path / "out" / "student" / "manifest.json").read_text())["onnx"]
    assert record["relative_difference"] < 1e-4
