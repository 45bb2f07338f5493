"""The costs counted from a spec are those of the network that is built from it."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
import torch

from fdkd_core.models import build_model
from fdkd_core.models.cost import parameter_count, size_bytes
from fdkd_core.spec.architectures import (
    ArchitectureSpec,
    Conv1dSpec,
    Conv2dFPNSpec,
    Conv2dSpec,
    MLPSpec,
    ResNet18Spec,
    TextTransformerSpec,
)
from fdkd_core.spec.catalogue import FITTING_KINDS, architecture_problems, feature_dim
from fdkd_core.spec.cost import (
    COPIES_OF_WEIGHTS,
    MAX_PARAMETERS,
    memory_problems,
    parameters,
    size_problems,
    training_bytes,
)
from fdkd_core.spec.hugging_face.architectures import HuggingFaceSpec
from fdkd_core.spec.hugging_face.dense import DenseHuggingFaceSpec

PICTURES = [(1, 8, 9), (3, 32, 32), (2, 17, 64), (5, 64, 70), (1, 40, 101)]
GRID: list[tuple[Any, tuple[int, ...], int | None]] = [
    *itertools.product(
        [ResNet18Spec(width=w, stem=s) for w in (1, 4) for s in ("auto", "small")], PICTURES, [None]
    ),
    *itertools.product([ResNet18Spec(width=3, stem="large")], PICTURES[3:], [None]),
    *itertools.product(
        [Conv2dSpec(width=w, depth=d, dropout=p) for w in (1, 6) for d in (1, 3) for p in (0.0, 0.2)],
        PICTURES,
        [None],
    ),
    *itertools.product(
        [Conv1dSpec(width=w, depth=d, kernel=k) for w in (2, 5) for d in (1, 2) for k in (1, 7)],
        [(1, 4), (3, 50), (9, 33)],
        [None],
    ),
    *itertools.product(
        [MLPSpec(width=w, depth=d, dropout=p) for w in (1, 17) for d in (1, 4) for p in (0.0, 0.3)],
        [(1,), (33,), (3, 20), (1, 8, 9)],
        [None],
    ),
    *itertools.product(
        [TextTransformerSpec(width=w, depth=d, heads=h) for w in (8, 24) for d in (1, 3) for h in (1, 4)],
        [(1,), (19,)],
        [2, 300],
    ),
    *itertools.product(
        [Conv2dFPNSpec(width=w, depth=d, dim=n) for w in (1, 6) for d in (2, 3) for n in (2, 7)],
        PICTURES,
        [None],
    ),
]


# Those of the transformers package, whose import takes seconds, are in models/test_hugging_face.py and
# models/test_dense_networks.py.
THEIRS = set(get_args(HuggingFaceSpec)) | set(get_args(DenseHuggingFaceSpec))
OURS = set(get_args(get_args(ArchitectureSpec)[0])) - THEIRS


@pytest.mark.parametrize("kind", sorted(spec.__name__ for spec in OURS))
def test_the_count_is_exact(kind: str) -> None:
    cases = [case for case in GRID if type(case[0]).__name__ == kind]
    assert len(cases) >= 8
    for (spec, shape, vocab), classes in itertools.product(cases, (2, 11)):
        with torch.device("meta"):
            model = build_model(spec, shape, classes, vocab)
        assert parameters(spec, shape, classes, vocab) == parameter_count(model), (spec, shape)
        assert model.feature_dim == feature_dim(spec)


@pytest.mark.parametrize(("spec", "shape", "vocab"), GRID[:: len(GRID) // 12])
def test_memory_grows_with_the_batch_from_the_weights(
    spec: Any, shape: tuple[int, ...], vocab: int | None
) -> None:
    with torch.device("meta"):
        weights = size_bytes(build_model(spec, shape, 3, vocab))
    one, two, three = (training_bytes(spec, shape, 3, vocab, batch_size=n) for n in (1, 2, 3))
    assert two - one == three - two > 0
    # The counter of batches that each batch norm keeps, of 8 bytes, is not worth counting.
    assert (
        COPIES_OF_WEIGHTS * weights - 20 * 8 * COPIES_OF_WEIGHTS
        <= one - (two - one)
        <= COPIES_OF_WEIGHTS * weights
    )


def test_activations_are_what_the_layers_put_out() -> None:
    """By hand: input 2x8; convolution, norm, ReLU of 3x8; pooling of 3x4 and index; features; logits."""
    numbers = 16 + 3 * 24 + 3 * 12 + 3 + 2
    spec = Conv1dSpec(width=3, depth=1)
    assert training_bytes(spec, (2, 8), 2, batch_size=2) - training_bytes(spec, (2, 8), 2, batch_size=1) == (
        4 * 2 * numbers
    )


def test_limits() -> None:
    spec = MLPSpec(width=2048, depth=1)
    fits, too_wide = (60_000,), (65_536, 2)
    assert parameters(spec, fits, 2) <= MAX_PARAMETERS < parameters(spec, too_wide, 2)
    assert size_problems(spec, fits, 2, None, "/a") == []
    (problem,) = size_problems(spec, too_wide, 2, None, "/a")
    assert (problem.code, problem.pointer) == ("exceeds_limit", "/a")
    assert memory_problems(90, 100, 8, "/a") == []
    assert memory_problems(91, 100, 8, "/a")[0].code == "exceeds_limit"


def test_the_table_of_what_fits_says_what_the_rules_say() -> None:
    shapes: dict[str, tuple[tuple[int, ...], int | None]] = {
        "image": ((3, 64, 64), None),
        "depth": ((1, 64, 64), None),
        "audio": ((1, 64, 101), None),
        "series": ((3, 128), None),
        "vector": ((40,), None),
        "text": ((32,), 500),
        "map": ((16, 32, 32), None),
    }
    assert set(FITTING_KINDS) == OURS | THEIRS
    for spec in OURS:
        fitting = {
            kind
            for kind, (shape, vocab) in shapes.items()
            if not architecture_problems(spec(), shape, vocab, "")
        }
        # A spectrogram and a map have the axes of a picture; it is the task that refuses them.
        if spec is Conv2dFPNSpec:
            fitting -= {"audio", "map"}
        assert fitting == set(FITTING_KINDS[spec])
