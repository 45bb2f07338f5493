from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from fdkd_core.memory_layout import use_fast_layout
from fdkd_core.models import build_model
from fdkd_core.spec import ArchitectureSpec, Conv2dSpec, ResNet18Spec

CPU = torch.device("cpu")


def is_channels_last(spec: ArchitectureSpec) -> bool:
    model = build_model(spec, (3, 64, 64), 4)
    use_fast_layout(model, CPU)
    weight = next(module.weight for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    return weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Conv2dSpec(width=4), True),
        (ResNet18Spec(width=16), True),
        (ResNet18Spec(width=15), False),
        (ResNet18Spec(width=4), False),
    ],
    ids=repr,
)
def test_the_layout_is_fast_where_it_is_sound(spec: ArchitectureSpec, expected: bool) -> None:
    assert is_channels_last(spec) is expected


@pytest.mark.slow
def test_a_narrow_resnet_trains_without_corrupting_the_heap() -> None:
    """In a process of its own, under the C library's own check of the heap."""
    script = """
import torch
from fdkd_core.memory_layout import use_fast_layout
from fdkd_core.models import build_model
from fdkd_core.spec import ResNet18Spec
model = build_model(ResNet18Spec(width=4), (3, 32, 32), 4)
use_fast_layout(model, torch.device("cpu"))
for step in range(10):
    model(torch.randn(8, 3, 32, 32)).logits.square().mean().backward()
"""
    environment = {
        **os.environ,
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
        "LD_PRELOAD": "libc_malloc_debug.so.0",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-500:]
