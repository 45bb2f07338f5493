from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import nn

from fdkd_core.errors import IncompatibleError
from fdkd_core.models import ARCHITECTURES, Backbone, build_model
from fdkd_core.models.cost import multiply_adds, parameter_count, size_bytes
from fdkd_core.spec.architectures import (
    ArchitectureSpec,
    Conv1dSpec,
    Conv2dFPNSpec,
    Conv2dSpec,
    MLPSpec,
    ResNet18Spec,
    TextTransformerSpec,
)
from fdkd_core.spec.catalogue import default_architecture
from fdkd_core.spec.tasks import ClassificationSpec, SegmentationSpec

CASES: list[tuple[Any, tuple[int, ...], int | None, int]] = [
    (ResNet18Spec(width=4, stem="small"), (1, 8, 9), None, 32),
    (ResNet18Spec(width=4), (5, 33, 40), None, 32),
    (ResNet18Spec(width=4, stem="large"), (3, 32, 47), None, 32),
    (Conv2dSpec(width=3, depth=1), (1, 2, 2), None, 3),
    (Conv2dSpec(width=4, depth=3), (2, 17, 8), None, 16),
    (Conv1dSpec(width=4, depth=2, kernel=1), (1, 4), None, 8),
    (Conv1dSpec(width=4, depth=3, kernel=7), (6, 50), None, 16),
    (MLPSpec(width=7, depth=1), (1,), None, 7),
    (MLPSpec(width=16, depth=3), (3, 5, 4), None, 16),
    (TextTransformerSpec(width=8, heads=2, depth=1), (1,), 3, 8),
    (TextTransformerSpec(width=16, heads=4, depth=2), (12,), 40, 16),
]
IDS = [f"{spec.name}-{'x'.join(map(str, shape))}" for spec, shape, _, _ in CASES]


def make_inputs(model: Backbone, shape: tuple[int, ...], batch: int, vocab: int | None) -> torch.Tensor:
    if vocab is None:
        return torch.randn(batch, *shape)
    return torch.randint(0, vocab, (batch, *shape))


@pytest.mark.parametrize(("spec", "shape", "vocab", "dim"), CASES, ids=IDS)
def test_shapes_and_classifier(spec: Any, shape: tuple[int, ...], vocab: int | None, dim: int) -> None:
    torch.manual_seed(0)
    model = build_model(spec, shape, 5, vocab)
    assert model.training
    model(make_inputs(model, shape, 4, vocab))  # moves the statistics of batch norm off their start
    model.eval()
    for batch in (1, 3):
        inputs = make_inputs(model, shape, batch, vocab)
        before = inputs.clone()
        output = model(inputs)
        assert output.features.shape == (batch, dim)
        assert model.feature_dim == dim
        assert output.logits.shape == (batch, 5)
        torch.testing.assert_close(output.logits, model.classifier(output.features), rtol=0, atol=0)
        assert torch.equal(inputs, before)
    # One row alone gives what it gives within a batch.
    torch.testing.assert_close(model(inputs[:1]).features, output.features[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("spec", "shape", "vocab", "dim"), CASES, ids=IDS)
def test_a_seed_gives_the_weights(spec: Any, shape: tuple[int, ...], vocab: int | None, dim: int) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build_model(spec, shape, 3, vocab).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize(("spec", "shape", "vocab", "dim"), CASES, ids=IDS)
def test_features_are_never_modified_in_place(
    spec: Any, shape: tuple[int, ...], vocab: int | None, dim: int
) -> None:
    """The trap of `pre = x; out = relu_(x)`: whatever a hook sees must still hold after the forward."""
    torch.manual_seed(0)
    model = build_model(spec, shape, 3, vocab).eval()
    seen: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            for tensor in (*inputs, output):
                if isinstance(tensor, torch.Tensor):
                    seen.append((name, tensor, tensor.clone()))

        return hook

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(keep(name))
    output = model(make_inputs(model, shape, 2, vocab))
    clone = output.features.detach().clone()
    output.logits.sum().backward()
    assert torch.equal(output.features, clone)
    for name, tensor, copy in seen:
        assert torch.equal(tensor, copy), name


@pytest.mark.parametrize("spec", [ResNet18Spec(width=2), Conv2dSpec(width=4), Conv1dSpec(width=4), MLPSpec()])
def test_float_features_are_after_the_relu(spec: Any) -> None:
    torch.manual_seed(0)
    shape = {"conv1d": (2, 16), "mlp": (9,)}.get(spec.name, (2, 16, 16))
    features = build_model(spec, shape, 3)(torch.randn(8, *shape)).features
    assert bool((features >= 0).all())
    assert bool((features > 0).any())


def test_dropout_leaves_the_features_alone() -> None:
    torch.manual_seed(0)
    model = build_model(MLPSpec(width=64, depth=1, dropout=0.5), (8,), 3)
    inputs = torch.randn(4, 8)
    first, second = model(inputs), model(inputs)
    assert torch.equal(first.features, second.features)
    assert not torch.equal(first.logits, second.logits)


def test_text_ignores_padding_and_survives_an_empty_text() -> None:
    torch.manual_seed(0)
    model = build_model(TextTransformerSpec(width=16, heads=2), (6,), 3, 20).eval()
    ids = torch.tensor([[4, 9, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    output = model(ids)
    torch.testing.assert_close(model(ids[:1, :3]).features, output.features[:1], rtol=1e-4, atol=1e-5)
    assert bool(torch.isfinite(output.features).all())
    assert not torch.allclose(model(ids[:1].flip(1)).features, output.features[:1])
    model.train()(ids).logits.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_parameter_counts() -> None:
    published = build_model(ResNet18Spec(stem="large"), (3, 224, 224), 1000)
    assert parameter_count(published) == 11_689_512  # torchvision's resnet18
    # 1.814e9 multiply-adds at 224x224 is the figure torchvision publishes, as "1.81 GFLOPS".
    assert multiply_adds(published, (3, 224, 224)) == 1_814_073_344
    small = build_model(Conv2dSpec(width=4, depth=2), (1, 8, 8), 3)
    weights = 9 * 1 * 4 + 9 * 4 * 8 + 8 * 3
    assert parameter_count(small) == weights + 2 * (4 + 8) + 3
    assert multiply_adds(small, (1, 8, 8)) == 64 * 36 + 16 * 288 + 24
    assert small.training
    assert size_bytes(small) == 4 * (parameter_count(small) + 2 * (4 + 8)) + 2 * 8


def test_attention_is_counted() -> None:
    model = build_model(TextTransformerSpec(width=8, heads=2, depth=1), (10,), 3, 20)
    assert multiply_adds(model, (10,)) == 10 * 12 * 8 * 8 + 2 * 10 * 10 * 8 + 8 * 3


def test_auto_stem() -> None:
    def kernel(side: int) -> int:
        conv = build_model(ResNet18Spec(width=2), (1, side, 200), 2).conv1
        assert isinstance(conv, nn.Conv2d)
        return int(conv.kernel_size[0])

    assert (kernel(63), kernel(64)) == (3, 7)


@pytest.mark.parametrize(
    ("spec", "shape", "vocab", "pointer", "words"),
    [
        (Conv2dSpec(), (40,), None, "/a", "which mlp takes"),
        (Conv2dSpec(), (3, 50), None, "/a", "which conv1d or mlp takes"),
        (ResNet18Spec(), (20,), 100, "/a", "text takes text_transformer"),
        (Conv1dSpec(), (3, 8, 8), None, "/a", "which conv2d, resnet18 or mlp takes"),
        (MLPSpec(), (20,), 100, "/a", "text takes text_transformer"),
        (TextTransformerSpec(), (20,), None, "/a", "takes token ids"),
        (TextTransformerSpec(width=10, heads=4), (20,), 50, "/a/heads", "multiple of heads 4"),
        (Conv2dSpec(depth=4), (1, 64, 15), None, "/a/depth", "allows depth 1 to 3"),
        (Conv1dSpec(depth=1), (1, 1), None, "/a/depth", "mlp takes it"),
        (Conv1dSpec(kernel=4), (1, 64), None, "/a/kernel", "odd"),
        (ResNet18Spec(stem="large"), (3, 31, 64), None, "/a/stem", "at least 32"),
        (ResNet18Spec(), (3, 7, 64), None, "/a", "at least 8"),
        (MLPSpec(width=2048), (3, 512, 512), None, "/a", "lower width or depth"),
        (ResNet18Spec(width=512), (3, 64, 64), None, "/a", "lower width or depth"),
    ],
)
def test_what_does_not_fit_is_refused(
    spec: Any, shape: tuple[int, ...], vocab: int | None, pointer: str, words: str
) -> None:
    with pytest.raises(IncompatibleError) as caught:
        build_model(spec, shape, 3, vocab, pointer="/a")
    (problem,) = caught.value.problems
    assert problem.pointer == pointer
    assert words in problem.detail


def test_the_registry_has_every_architecture() -> None:
    union = get_args(get_args(ArchitectureSpec)[0])
    assert set(union) == set(ARCHITECTURES)
    assert default_architecture("text", ClassificationSpec()) == TextTransformerSpec()
    assert default_architecture("depth", SegmentationSpec()) == Conv2dFPNSpec()
    task = ClassificationSpec()
    assert {default_architecture(kind, task).name for kind in ("image", "depth", "audio")} == {"conv2d"}
    assert default_architecture("series", task).name == "conv1d"
    assert default_architecture("vector", task).name == "mlp"
