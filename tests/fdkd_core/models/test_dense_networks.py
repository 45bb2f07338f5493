"""Networks that answer by pixel: ours, and those of the transformers package against its own."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fdkd_core.bundle.onnx_export import export_onnx, measure_parity
from fdkd_core.bundle.onnx_session import OnnxSession
from fdkd_core.errors import IncompatibleError
from fdkd_core.model_report import check_weights, weights_report
from fdkd_core.models import Backbone, build_model
from fdkd_core.models.base import served_logits
from fdkd_core.models.cost import parameter_count, size_bytes
from fdkd_core.models.hugging_face.configuration import configuration
from fdkd_core.models.target import Target
from fdkd_core.models.weights import load_weights, save_weights
from fdkd_core.spec import Conv2dFPNSpec
from fdkd_core.spec.catalogue import architecture_problems, data_dimensions, feature_dim
from fdkd_core.spec.cost import COPIES_OF_ACTIVATIONS, COPIES_OF_WEIGHTS, parameters, training_bytes
from fdkd_core.spec.dense import DenseSpec, map_size, smallest_picture
from fdkd_core.spec.hugging_face.dense import MobileNetV2DeepLabSpec, SegformerSpec
from fdkd_core.spec.tasks import SegmentationSpec

CLASSES = 5
_STAGES: dict[str, Any] = {
    "hidden_sizes": (8, 16),
    "depths": (1, 2),
    "num_attention_heads": (1, 2),
    "patch_sizes": (7, 3),
    "strides": (4, 2),
    "sr_ratios": (2, 1),
    "mlp_ratios": (4, 2),
    "decoder_hidden_size": 12,
}
CASES: dict[str, tuple[DenseSpec, tuple[int, ...]]] = {
    "fpn": (Conv2dFPNSpec(width=4, depth=3, dim=6), (3, 17, 21)),
    "fpn-dropout": (Conv2dFPNSpec(width=3, depth=2, dim=5, dropout=0.3), (1, 16, 8)),
    "segformer": (SegformerSpec(**_STAGES), (3, 33, 40)),
    "segformer-dropout": (
        SegformerSpec(
            **(_STAGES | {"strides": (2, 2), "patch_sizes": (3, 3)}), hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1, drop_path_rate=0.2, hidden_act="relu",
        ),
        (1, 17, 22),
    ),
    "deeplab": (MobileNetV2DeepLabSpec(depth_multiplier=0.1), (3, 32, 40)),
    "deeplab-16": (
        MobileNetV2DeepLabSpec(
            depth_multiplier=0.2, output_stride=16, tf_padding=False, first_layer_is_expansion=False
        ),
        (1, 33, 47),
    ),
    "deeplab-32": (MobileNetV2DeepLabSpec(depth_multiplier=0.1, output_stride=32), (3, 70, 97)),
}  # fmt: skip


@lru_cache
def warmed(name: str) -> Backbone:
    """In eval mode, with batch norms that have seen data. Made once, and changed by nobody."""
    spec, shape = CASES[name]
    torch.manual_seed(0)
    model = build_model(spec, shape, CLASSES)
    with torch.no_grad():
        for _ in range(5):
            model(pictures(shape, 8))
    return model.eval()


def pictures(shape: tuple[int, ...], batch: int = 3) -> Tensor:
    return 1 + 2 * torch.randn(batch, *shape)


def test_every_one_is_tested() -> None:
    assert {type(spec) for spec, _ in CASES.values()} == set(get_args(DenseSpec))


@pytest.mark.parametrize("name", CASES)
def test_maps_and_classifier(name: str) -> None:
    spec, shape = CASES[name]
    model, inputs = warmed(name), pictures(shape)
    output = model(inputs)
    height, width = map_size(spec, shape)
    assert model.is_dense
    assert output.features.shape == (3, feature_dim(spec), height, width)
    assert output.logits.shape == (3, CLASSES, height, width)
    at_place = model.classifier(output.features[:, :, 1, 0])
    torch.testing.assert_close(output.logits[:, :, 1, 0], at_place)
    assert float(output.logits.detach().abs().max()) > 1e-2
    assert served_logits(model, inputs, output).shape == (3, CLASSES, *shape[1:])
    # One row alone gives what it gives within a batch.
    torch.testing.assert_close(model(inputs[:1]).logits, output.logits[:1], rtol=1e-4, atol=1e-5)
    output.logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", CASES)
def test_the_count_is_exact(name: str) -> None:
    spec, shape = CASES[name]
    with torch.device("meta"):
        model = build_model(spec, shape, CLASSES)
    assert parameters(spec, shape, CLASSES) == parameter_count(model)
    one, two = (training_bytes(spec, shape, CLASSES, batch_size=n) for n in (1, 2))
    counters = 8 * sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert COPIES_OF_WEIGHTS * (size_bytes(model) - counters) == one - (two - one)


@pytest.mark.parametrize("name", CASES)
def test_memory_is_estimated_on_the_safe_side(name: str) -> None:
    spec, shape = CASES[name]
    model = build_model(spec, shape, CLASSES)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(pictures(shape, 16))
    one, two = (training_bytes(spec, shape, CLASSES, batch_size=n) for n in (1, 2))
    estimate = 16 * (two - one) / COPIES_OF_ACTIVATIONS
    assert 0.5 * estimate < sum(kept.values()) < estimate


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("fpn")])
def test_it_is_the_network_of_the_package(name: str) -> None:
    """The package's own gives the same logits from the same weights."""
    import transformers

    spec, shape = CASES[name]
    model, target = warmed(name), Target(shape, CLASSES, None)
    if isinstance(spec, MobileNetV2DeepLabSpec):
        config = configuration(spec.encoder, target)
        names = {"encoder.": "mobilenet_v2.", "head.": "segmentation_head."}
        names["classifier."] = "segmentation_head.classifier.convolution."
        theirs = "MobileNetV2ForSemanticSegmentation"
    else:
        config = model.encoder.config  # type: ignore[union-attr]
        names = {"encoder.": "segformer.", "head.": "decode_head.", "classifier.": "decode_head.classifier."}
        theirs = "SegformerForSemanticSegmentation"
    config.num_labels = CLASSES
    reference = getattr(transformers, theirs)(config).eval()
    renamed = {
        re.sub("^(encoder|head|classifier)\\.", lambda found: names[found.group()], key): value
        for key, value in model.state_dict().items()
    }
    weight = names["classifier."] + "weight"
    renamed[weight] = renamed[weight][:, :, None, None]
    found = reference.load_state_dict(renamed, strict=False)
    assert found.unexpected_keys == []
    # The layer that only its classifier for whole pictures uses.
    assert {key.split(".")[1] for key in found.missing_keys} <= {"conv_1x1"}
    inputs = pictures(shape)
    torch.testing.assert_close(model(inputs).logits, reference(inputs).logits, rtol=1e-5, atol=1e-6)


# Ours is exported by test_segmentation_jobs.py.
@pytest.mark.long
@pytest.mark.parametrize("name", ["segformer", "deeplab-16", "deeplab-32"])
def test_onnx_gives_scores_at_the_size_of_the_input(name: str) -> None:
    _, shape = CASES[name]
    model = warmed(name)
    file = export_onnx(model, shape)
    inputs = pictures(shape, 5).numpy()
    record = measure_parity(model, file, inputs, SegmentationSpec())
    assert record.relative_difference < 1e-4
    assert record.equal_predictions == record.num_samples == 5
    assert OnnxSession(file)(np.ascontiguousarray(inputs[:1])).shape == (1, CLASSES, *shape[1:])


@pytest.mark.parametrize("name", CASES)
def test_weights_are_read_back(name: str, tmp_path: Path) -> None:
    spec, shape = CASES[name]
    model = warmed(name)
    save_weights(model, tmp_path / "w.safetensors")
    check_weights(tmp_path / "w.safetensors", spec)
    report = weights_report(tmp_path / "w.safetensors", spec)
    assert report["dimensions"] == data_dimensions(spec, shape, CLASSES)
    again = build_model(spec, shape, CLASSES).eval()
    load_weights(tmp_path / "w.safetensors", again)
    inputs = pictures(shape)
    assert torch.equal(again(inputs).logits, model(inputs).logits)


@pytest.mark.parametrize(
    ("spec", "shape", "field", "words"),
    [
        (Conv2dFPNSpec(depth=4), (3, 15, 64), "/depth", "at least 16"),
        (MobileNetV2DeepLabSpec(output_stride=16), (3, 12, 64), "/output_stride", "at least 16"),
        (MobileNetV2DeepLabSpec(output_stride=32), (3, 64, 31), "/output_stride", "at least 32"),
        (SegformerSpec(), (3, 24, 64), "/sr_ratios", r"\[6, 16\] cannot be thinned out by 8"),
        (SegformerSpec(depths=(2, 2)), (3, 64, 64), "/depths", "2 depths do not fit 4"),
        (SegformerSpec(num_attention_heads=(3, 2, 5, 8)), (3, 64, 64), "/num_attention_heads", "multiple"),
        (SegformerSpec(patch_sizes=(4, 3, 3, 3)), (3, 64, 64), "/patch_sizes", "odd"),
        (Conv2dFPNSpec(), (3, 64), "", "channels, height, width"),
    ],
)
def test_what_does_not_fit_is_refused(
    spec: DenseSpec, shape: tuple[int, ...], field: str, words: str
) -> None:
    (problem,) = architecture_problems(spec, shape, None, "/student/architecture")
    assert (problem.code, problem.pointer) == ("incompatible", f"/student/architecture{field}")
    assert re.search(words, problem.detail)
    with pytest.raises(IncompatibleError):
        build_model(spec, shape, 2)


@pytest.mark.parametrize("name", CASES)
def test_the_smallest_picture_is_the_smallest(name: str) -> None:
    spec, (channels, *_) = CASES[name]
    side = smallest_picture(spec)
    assert build_model(spec, (channels, side, side), 2)(pictures((channels, side, side))) is not None
    assert architecture_problems(spec, (channels, side - 1, side - 1), None, "") != []
