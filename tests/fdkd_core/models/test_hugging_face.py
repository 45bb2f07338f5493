"""Networks of the transformers package: importing it takes seconds, which this file pays once."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import torch
from hugging_face_cases import CASES, PLAIN
from torch import Tensor, nn

from fdkd_core.bundle.onnx_export import export_onnx
from fdkd_core.data.dataset import load_dataset
from fdkd_core.data.table import PairedDataset
from fdkd_core.errors import IncompatibleError, TrainingInterrupted
from fdkd_core.model_report import check_weights, weights_report
from fdkd_core.models import Backbone, build_model
from fdkd_core.models.cost import parameter_count, size_bytes
from fdkd_core.models.hugging_face.configuration import configuration
from fdkd_core.models.target import Target
from fdkd_core.models.weights import load_weights, save_weights
from fdkd_core.phases import Phase, make_trainee
from fdkd_core.spec import TrainingSpec
from fdkd_core.spec.catalogue import FITTING_KINDS, architecture_problems, data_dimensions, feature_dim
from fdkd_core.spec.cost import COPIES_OF_ACTIVATIONS, COPIES_OF_WEIGHTS, parameters, training_bytes
from fdkd_core.spec.hugging_face.architectures import (
    ASTSpec,
    BertSpec,
    ConvNextSpec,
    DistilBertSpec,
    HuggingFaceSpec,
    MobileNetV2Spec,
    ResNetSpec,
    ViTSpec,
    Wav2Vec2Spec,
)
from fdkd_core.training.checkpoint import CheckpointStore
from fdkd_core.training.loop import Hooks, fit
from fdkd_core.training.randomness import seed_torch

CLASSES = 5
REL_TOL = 1e-5
CPU = torch.device("cpu")


def make_inputs(shape: tuple[int, ...], vocab: int | None, batch: int = 3) -> Tensor:
    if vocab is None:
        return 1 + 2 * torch.randn(batch, *shape)
    inputs = torch.randint(1, vocab, (batch, *shape))
    inputs[0, (shape[0] + 1) // 2 :] = 0  # a text that is shorter than the others
    return inputs


@lru_cache
def warmed(name: str) -> tuple[Backbone, tuple[int, ...], int | None]:
    """In eval mode, with batch norm that has seen data: at its start MobileNetV2 puts out next to nothing.

    Made once; whoever changes it takes a copy.
    """
    spec, shape, vocab, _ = CASES[name]
    torch.manual_seed(0)
    model = build_model(spec, shape, CLASSES, vocab)
    with torch.no_grad():
        for _ in range(5):
            model(make_inputs(shape, vocab, 8))
    return model.eval(), shape, vocab


def test_every_family_is_tested() -> None:
    assert {type(spec) for spec, *_ in PLAIN.values()} == set(get_args(HuggingFaceSpec))


@pytest.mark.parametrize("name", CASES)
def test_shapes_and_classifier(name: str) -> None:
    model, shape, vocab = warmed(name)
    dim = CASES[name][3]
    inputs = make_inputs(shape, vocab)
    before = inputs.clone()
    output = model(inputs)
    assert output.features.shape == (3, dim)
    assert model.feature_dim == feature_dim(CASES[name][0]) == dim
    assert torch.equal(output.logits, model.classifier(output.features))
    assert torch.equal(inputs, before)
    assert float(output.logits.detach().abs().max()) > 1e-2
    # One row alone gives what it gives within a batch.
    torch.testing.assert_close(model(inputs[:1]).features, output.features[:1], rtol=1e-4, atol=1e-5)
    clone = output.features.detach().clone()
    output.logits.sum().backward()
    assert torch.equal(output.features, clone)
    # All of it is learnt: nothing is left over from the package's heads for pre-training.
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", CASES)
def test_a_seed_gives_the_weights(name: str) -> None:
    spec, shape, vocab, _ = CASES[name]
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build_model(spec, shape, CLASSES, vocab).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize("name", CASES)
def test_the_count_is_exact(name: str) -> None:
    spec, shape, vocab, _ = CASES[name]
    with torch.device("meta"):
        model = build_model(spec, shape, CLASSES, vocab)
    assert parameters(spec, shape, CLASSES, vocab) == parameter_count(model)
    one, two = (training_bytes(spec, shape, CLASSES, vocab, batch_size=n) for n in (1, 2))
    # The counter of batches that each batch norm keeps, of 8 bytes, is not worth counting.
    counters = 8 * sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert COPIES_OF_WEIGHTS * (size_bytes(model) - counters) == one - (two - one)


@pytest.mark.parametrize("name", CASES)
def test_memory_is_estimated_on_the_safe_side(name: str) -> None:
    """What autograd keeps of a batch, as it tells, against what was counted from the spec."""
    spec, shape, vocab, _ = CASES[name]
    model = build_model(spec, shape, CLASSES, vocab)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    batch = 16
    inputs = make_inputs(shape, vocab, batch)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(inputs)
    one, two = (training_bytes(spec, shape, CLASSES, vocab, batch_size=n) for n in (1, 2))
    estimate = batch * (two - one) / COPIES_OF_ACTIVATIONS
    assert 0.5 * estimate < sum(kept.values()) < estimate


THEIRS = {
    MobileNetV2Spec: ("MobileNetV2ForImageClassification", "mobilenet_v2"),
    ResNetSpec: ("ResNetForImageClassification", "resnet"),
    ConvNextSpec: ("ConvNextForImageClassification", "convnext"),
    ViTSpec: ("ViTForImageClassification", "vit"),
    ASTSpec: ("ASTForAudioClassification", "audio_spectrogram_transformer"),
    Wav2Vec2Spec: ("Wav2Vec2ForSequenceClassification", "wav2vec2"),
    BertSpec: ("BertForSequenceClassification", "bert"),
    DistilBertSpec: ("DistilBertForSequenceClassification", "distilbert"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_network_of_the_package(name: str) -> None:
    """The package's own classifier gives the same logits from the same weights."""
    import transformers

    model, shape, vocab = warmed(name)
    spec = CASES[name][0]
    theirs, prefix = THEIRS[type(spec)]
    config = configuration(spec, Target(shape, CLASSES, vocab))
    config.num_labels = CLASSES
    reference = getattr(transformers, theirs)(config).eval()
    head = {ResNetSpec: "classifier.1.", ASTSpec: "classifier.dense."}.get(type(spec), "classifier.")
    names = {"encoder.": f"{prefix}.", "classifier.": head, "head_norm.": "classifier.layernorm."}
    renamed = {
        re.sub("^(encoder|classifier|head_norm)\\.", lambda found: names[found.group()], key): value
        for key, value in model.state_dict().items()
    }
    reference.load_state_dict(renamed)
    inputs = make_inputs(shape, vocab)
    if isinstance(spec, ASTSpec):
        expected = reference(inputs[:, 0].transpose(1, 2))
    elif isinstance(spec, Wav2Vec2Spec):
        expected = reference(inputs[:, 0])
    elif vocab:
        expected = reference(input_ids=inputs, attention_mask=(inputs != 0).long())
    else:
        expected = reference(inputs)
    torch.testing.assert_close(model(inputs).logits, expected.logits, rtol=REL_TOL, atol=1e-6)


def test_batch_norm_remembers_more_than_a_batch() -> None:
    model = warmed("mobilenet_v2")[0]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 52
    assert {module.momentum for module in norms} == {0.1}


@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_text_ignores_padding_and_survives_an_empty_text(name: str) -> None:
    model = copy.deepcopy(warmed(name)[0])
    ids = torch.tensor([[4, 9, 2] + 9 * [0], 12 * [0]])
    output = model(ids)
    torch.testing.assert_close(model(ids[:1, :3]).features, output.features[:1], rtol=1e-4, atol=1e-5)
    assert bool(torch.isfinite(output.features).all())
    assert not torch.allclose(model(ids[:1].flip(1)).features, output.features[:1])
    model.train()(ids).logits.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "name",
    ["bert", *(pytest.param(name, marks=pytest.mark.long) for name in PLAIN if name != "bert")],
)
def test_onnx_gives_the_same(name: str) -> None:
    model, shape, vocab = warmed(name)
    session = onnxruntime.InferenceSession(export_onnx(model, shape), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        inputs = make_inputs(shape, vocab, batch)
        with torch.inference_mode():
            expected = model(inputs)
        logits, features = session.run(["logits", "features"], {"inputs": inputs.numpy()})
        for found, reference in ((logits, expected.logits.numpy()), (features, expected.features.numpy())):
            assert np.abs(found - reference).max() <= REL_TOL * np.abs(reference).max()


@pytest.mark.parametrize("name", CASES)
def test_weights_tell_what_they_are_for(name: str, tmp_path: Path) -> None:
    spec, shape, vocab, _ = CASES[name]
    model = build_model(spec, shape, CLASSES, vocab)
    path = tmp_path / "model.safetensors"
    save_weights(model, path)
    report = weights_report(path, spec)
    check_weights(path, spec)
    assert report["parameters"] == parameter_count(model)
    assert report["dimensions"] == data_dimensions(spec, shape, CLASSES, vocab)
    other = build_model(spec, shape, CLASSES, vocab)
    load_weights(path, other)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("spec", "shape", "vocab", "pointer", "words"),
    [
        (ViTSpec(), (3, 20, 24), None, "/a/patch_size", "multiples of patch_size 8"),
        (ViTSpec(), (3, 4, 24), None, "/a/patch_size", "does not fit"),
        (ViTSpec(patch_size=1), (1, 256, 256), None, "/a/patch_size", "65,536 patches"),
        (ViTSpec(num_attention_heads=5), (3, 16, 24), None, "/a/num_attention_heads", "multiple of"),
        (ViTSpec(), (3, 20), None, "/a", "which conv1d or mlp takes"),
        (ASTSpec(), (3, 40, 64), None, "/a", "one channel"),
        (ASTSpec(), (1, 10, 64), None, "/a/patch_size", "does not fit"),
        (MobileNetV2Spec(), (3, 28, 28), None, "/a", "output_stride 8"),
        (ResNetSpec(), (3, 31, 64), None, "/a", "at least 32"),
        (ResNetSpec(depths=(1, 2)), (3, 64, 64), None, "/a/depths", "2 depths do not fit 4"),
        (ResNetSpec(hidden_sizes=(2,), depths=(1,), layer_type="bottleneck"), (3, 64, 64), None,
         "/a/hidden_sizes", "at least 4"),
        (ConvNextSpec(depths=(1,)), (3, 64, 64), None, "/a/depths", "1 depths do not fit 4"),
        (ConvNextSpec(), (3, 31, 64), None, "/a", "at least 32"),
        (Wav2Vec2Spec(), (1, 40, 64), None, "/a", "ast takes spectrograms"),
        (Wav2Vec2Spec(), (2, 4000), None, "/a", "one channel"),
        (Wav2Vec2Spec(), (1, 399), None, "/a/conv_stride", "need 400 samples"),
        (Wav2Vec2Spec(conv_dim=(8,) * 2, conv_stride=(5, 4), conv_kernel=(10, 8)), (1, 480_000), None,
         "/a/conv_stride", "23,998 frames"),
        (Wav2Vec2Spec(conv_dim=(8,)), (1, 4000), None, "/a/conv_dim", "one number per convolution"),
        (Wav2Vec2Spec(hidden_size=36), (1, 4000), None, "/a/num_conv_pos_embedding_groups", "16 groups"),
        (Wav2Vec2Spec(num_attention_heads=5), (1, 4000), None, "/a/num_attention_heads", "multiple of"),
        (BertSpec(), (1, 16, 16), None, "/a", "takes token ids"),
        (BertSpec(vocab_size=30), (12,), 40, "/a/vocab_size", "less than the 40 tokens"),
        (DistilBertSpec(max_position_embeddings=8), (12,), 40, "/a/max_position_embeddings", "length of 12"),
        (DistilBertSpec(n_heads=3), (12,), 40, "/a/n_heads", "dim 128 must be a multiple"),
        (BertSpec(hidden_size=2048, vocab_size=1_000_000), (12,), 40, "/a", "parameters"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    spec: Any, shape: tuple[int, ...], vocab: int | None, pointer: str, words: str
) -> None:
    with pytest.raises(IncompatibleError) as caught:
        build_model(spec, shape, CLASSES, vocab, pointer="/a")
    (problem,) = caught.value.problems
    assert problem.pointer == pointer
    assert words in problem.detail


def test_the_table_of_what_fits_says_what_the_rules_say() -> None:
    shapes: dict[str, tuple[tuple[int, ...], int | None]] = {
        "image": ((3, 64, 64), None),
        "depth": ((1, 64, 64), None),
        "audio": ((1, 64, 104), None),
        "series": ((1, 4000), None),
        "vector": ((40,), None),
        "text": ((32,), 500),
        "map": ((16, 32, 32), None),
    }
    for spec in get_args(HuggingFaceSpec):
        fitting = {kind for kind, size in shapes.items() if not architecture_problems(spec(), *size, "")}
        assert fitting == set(FITTING_KINDS[spec])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PairedDataset:
    """Pictures, sounds as one channel of samples, and texts of the same classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    words = np.array([["good", "fine", "kind"], ["bad", "poor", "cruel"]])
    np.savez(
        path,
        picture=(rng.integers(0, 100, (64, 32, 32, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8),
        sound=(rng.normal(size=(64, 1, 200)) * (1 + labels[:, None, None])).astype(np.float32),
        text=np.array([" ".join(rng.choice(words[label], 6)) for label in labels]),
        label=labels,
        split=np.array(["train"] * 40 + ["val"] * 12 + ["test"] * 12),
    )
    return load_dataset(path, ["picture", "sound", "text"], seed=0)


@pytest.mark.parametrize(
    ("name", "modality"), [("bert", "text"), ("wav2vec2", "sound"), ("mobilenet_v2", "picture")]
)
def test_a_resume_gives_the_same_bits(name: str, modality: str, data: PairedDataset, tmp_path: Path) -> None:
    """With dropout, batch norm and a norm of weights: all that a checkpoint has to hold."""
    training = TrainingSpec(epochs=2, batch_size=8, augment="light")
    phase = Phase("student", modality, CASES[name][0], "/student/architecture", training)

    def train(stop_at: int, store: CheckpointStore) -> dict[str, Tensor]:
        trainee = make_trainee(phase, data, CPU)
        seed_torch(0, "dropout")
        steps = iter(range(1000))
        state = store.restore(trainee)
        hooks = Hooks(
            on_metrics=lambda metrics: None,
            should_stop=lambda: next(steps) == stop_at,
            on_checkpoint=lambda state, must: store.save_if_due(trainee, state, must=must),
        )
        fit(trainee, state, hooks)
        return trainee.model.state_dict()

    def store(folder: str) -> CheckpointStore:
        return CheckpointStore(tmp_path / folder, "key", warn=pytest.fail)

    undisturbed = train(-1, store("undisturbed"))
    with pytest.raises(TrainingInterrupted):
        train(7, store("stopped"))
    torch.manual_seed(99)
    resumed = train(-1, store("stopped"))
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)
