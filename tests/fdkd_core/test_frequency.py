from __future__ import annotations

import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdkd_core.frequency import cutoff_bin, split_bands, split_bands_of_both

DIMS = [2, 3, 4, 5, 7, 8, 15, 16, 33, 64, 127, 512, 1023, 2048]
CUTOFFS = [0.01, 0.25, 1 / 3, 0.5, 0.75, 0.99]


def naive_bands(features: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """The definition, bin by bin in float64, with cosines and sines instead of an FFT."""
    dim = features.shape[1]
    channel = np.arange(dim)
    low, high = np.zeros_like(features), np.zeros_like(features)
    last_low = math.floor(cutoff * (dim // 2) + 1e-9)
    for k in range(1, dim // 2 + 1):
        # The Nyquist bin of an even length has no mirror image, so it counts once.
        factor = (1 if 2 * k == dim else 2) / dim
        cosine, sine = np.cos(2 * np.pi * k * channel / dim), np.sin(2 * np.pi * k * channel / dim)
        part = factor * (np.outer(features @ cosine, cosine) + np.outer(features @ sine, sine))
        if k <= last_low:
            low += part
        else:
            high += part
    return low, high


def features(batch: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, dim)))


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("batch", [1, 2])
def test_split_equals_the_definition(dim: int, batch: int) -> None:
    x = features(batch, dim)
    for cutoff in CUTOFFS:
        low, high = split_bands(x, cutoff=cutoff)
        naive_low, naive_high = naive_bands(x.numpy(), cutoff)
        np.testing.assert_allclose(low.numpy(), naive_low, atol=1e-11)
        np.testing.assert_allclose(high.numpy(), naive_high, atol=1e-11)


@pytest.mark.parametrize("dim", DIMS)
def test_split_equals_two_inverse_transforms(dim: int) -> None:
    """The authors' way of writing it."""
    x = features(3, dim)
    spectrum = torch.fft.rfft(x)
    c = cutoff_bin(dim, 0.5)
    only_low, only_high = torch.zeros_like(spectrum), torch.zeros_like(spectrum)
    only_low[:, 1 : c + 1] = spectrum[:, 1 : c + 1]
    only_high[:, c + 1 :] = spectrum[:, c + 1 :]
    low, high = split_bands(x, cutoff=0.5)
    torch.testing.assert_close(low, torch.fft.irfft(only_low, n=dim), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(high, torch.fft.irfft(only_high, n=dim), atol=1e-12, rtol=1e-12)


@settings(deadline=None, max_examples=60)
@given(dim=st.integers(2, 300), cutoff=st.floats(0.001, 0.999), seed=st.integers(0, 2**31))
def test_bands_are_complementary_orthogonal_projections(dim: int, cutoff: float, seed: int) -> None:
    x, y = features(2, dim, seed), features(2, dim, seed + 1)
    low, high = split_bands(x, cutoff=cutoff)
    other_low, other_high = split_bands(y, cutoff=cutoff)
    centred = x - x.mean(dim=1, keepdim=True)
    torch.testing.assert_close(low + high, centred)
    for band, index in ((low, 0), (high, 1)):
        again = split_bands(band, cutoff=cutoff)
        torch.testing.assert_close(again[index], band, atol=1e-9, rtol=1e-9)
        assert again[1 - index].abs().max() < 1e-9
    # Symmetric: <Px, y> = <x, Py>.
    torch.testing.assert_close((low * y).sum(1), (x * other_low).sum(1), atol=1e-8, rtol=1e-8)
    torch.testing.assert_close((high * y).sum(1), (x * other_high).sum(1), atol=1e-8, rtol=1e-8)
    # Pythagoras, hence Parseval over the bands.
    torch.testing.assert_close(
        low.square().sum(1) + high.square().sum(1), centred.square().sum(1), atol=1e-8, rtol=1e-8
    )


@pytest.mark.parametrize("dim", [4, 5, 64, 127])
def test_low_band_energy_is_the_energy_of_its_bins(dim: int) -> None:
    x = features(4, dim)
    c = cutoff_bin(dim, 0.5)
    power = torch.fft.rfft(x).abs().square()
    weight = torch.full((dim // 2 + 1,), 2.0, dtype=torch.float64)
    if dim % 2 == 0:
        weight[-1] = 1.0
    low, high = split_bands(x, cutoff=0.5)
    torch.testing.assert_close(low.square().sum(1), (power * weight)[:, 1 : c + 1].sum(1) / dim)
    torch.testing.assert_close(high.square().sum(1), (power * weight)[:, c + 1 :].sum(1) / dim)


def test_a_constant_is_in_neither_band() -> None:
    low, high = split_bands(torch.full((2, 64), 3.7, dtype=torch.float64), cutoff=0.5)
    assert low.abs().max() < 1e-14
    assert high.abs().max() < 1e-14


def test_a_pure_tone_is_in_one_band() -> None:
    channel = torch.arange(64, dtype=torch.float64)
    for k in range(1, 33):
        tone = torch.cos(2 * math.pi * k * channel / 64)[None]
        low, high = split_bands(tone, cutoff=0.5)
        inside, outside = (low, high) if k <= 16 else (high, low)
        torch.testing.assert_close(inside, tone, atol=1e-12, rtol=1e-12)
        assert outside.abs().max() < 1e-12


def test_order_of_samples_and_scale_pass_through() -> None:
    x = features(5, 33)
    order = torch.tensor([3, 1, 4, 0, 2])
    low, high = split_bands(x, cutoff=0.4)
    low_again, high_again = split_bands(2.5 * x[order], cutoff=0.4)
    torch.testing.assert_close(low_again, 2.5 * low[order])
    torch.testing.assert_close(high_again, 2.5 * high[order])


def test_rolling_the_channels_rolls_the_bands() -> None:
    x = features(2, 48)
    low, _ = split_bands(x, cutoff=0.5)
    rolled, _ = split_bands(x.roll(7, dims=1), cutoff=0.5)
    torch.testing.assert_close(rolled, low.roll(7, dims=1))


def test_channel_order_matters() -> None:
    """The meaning of "low" hangs on the order of channels: what the permuted-teacher control tests."""
    x = features(2, 48)
    permuted, _ = split_bands(
        x[:, torch.randperm(48, generator=torch.Generator().manual_seed(0))], cutoff=0.5
    )
    assert (permuted.norm() - split_bands(x, cutoff=0.5)[0].norm()).abs() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_to_fp32(dtype: torch.dtype) -> None:
    x = features(2, 24).to(dtype)  # 24 is no power of two: fp16 FFTs would refuse it
    low, high = split_bands(x, cutoff=0.5)
    assert low.dtype == high.dtype == torch.float32
    torch.testing.assert_close(low, split_bands(x.float(), cutoff=0.5)[0])


def test_runs_in_fp32_under_autocast() -> None:
    x = features(2, 24).float()
    with torch.autocast("cpu", torch.bfloat16):
        low, _ = split_bands(x, cutoff=0.5)
    torch.testing.assert_close(low, split_bands(x, cutoff=0.5)[0], atol=0, rtol=0)


@pytest.mark.parametrize("dim", [2, 3, 8, 9])
def test_gradcheck(dim: int) -> None:
    x = features(2, dim).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: split_bands(value, cutoff=0.5), (x,))


@pytest.mark.long
def test_compiles_to_one_graph() -> None:
    """In a process of its own: the shape checker that tests run under would break the graph."""
    script = """
import torch
from fdkd_core.frequency import split_bands, split_bands_of_both
learnt, constant = torch.randn(4, 32, requires_grad=True), torch.randn(4, 32)
for split, given in (split_bands, [learnt]), (split_bands_of_both, [learnt, constant]):
    found = torch._dynamo.explain(lambda *values: split(*values, cutoff=0.5))(*given)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=240)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4)])
def test_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    # The bare function, without the shape checker that tests run under.
    with pytest.raises(ValueError, match="shape"):
        inspect.unwrap(split_bands)(torch.zeros(shape), cutoff=0.5)


def test_refuses_one_channel() -> None:
    with pytest.raises(ValueError, match="at least 2 channels, found 1"):
        split_bands(torch.zeros(2, 1), cutoff=0.5)


@pytest.mark.parametrize("cutoff", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_refuses_a_cutoff_outside_the_open_interval(cutoff: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        cutoff_bin(8, cutoff)


def test_cutoff_bin_counts_bins() -> None:
    assert [cutoff_bin(512, c) for c in (0.25, 1 / 3, 0.5)] == [64, 85, 128]
    assert cutoff_bin(200, 0.29) == 29  # 0.29 * 100 is 28.999999999999996 in floating point
    assert cutoff_bin(2, 0.5) == 0
    assert cutoff_bin(2048, 0.999999) == 1023


def bands_by_autograd(x: torch.Tensor, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition, through which autograd finds its own way back."""
    dim, last = x.shape[1], cutoff_bin(x.shape[1], cutoff)
    bins = torch.arange(dim // 2 + 1)
    low = torch.fft.irfft(torch.fft.rfft(x) * ((bins >= 1) & (bins <= last)), n=dim)
    return low, x - x.mean(dim=1, keepdim=True) - low


@pytest.mark.parametrize("dim", [2, 3, 16, 33])
@pytest.mark.parametrize("cutoff", [0.1, 0.5, 0.9])
def test_gradients_are_those_of_the_definition(dim: int, cutoff: float) -> None:
    pull = features(3, dim, seed=1), features(3, dim, seed=2)
    found = []
    for split in (lambda x: split_bands(x, cutoff=cutoff), lambda x: bands_by_autograd(x, cutoff)):
        x = features(3, dim).requires_grad_()
        low, high = split(x)
        ((low * pull[0]).sum() + (high * pull[1]).square().sum()).backward()
        found.append(x.grad)
    torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=1e-12)
    x = features(2, dim).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: split_bands(x, cutoff=cutoff), x)
    assert torch.autograd.gradgradcheck(lambda x: split_bands(x, cutoff=cutoff), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_both_at_once_are_bit_for_bit_what_they_are_apart(dtype: torch.dtype) -> None:
    student, teacher = features(5, 48).to(dtype).requires_grad_(), features(5, 48, seed=1).to(dtype)
    together = split_bands_of_both(student, teacher, cutoff=0.4)
    for bands, x in zip(together, (student, teacher), strict=True):
        for band, alone in zip(bands, split_bands(x, cutoff=0.4), strict=True):
            assert band.dtype == alone.dtype
            assert torch.equal(band, alone)


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = features(3, 16).requires_grad_(), features(3, 16, seed=1).requires_grad_()
    bands = split_bands_of_both(student, teacher, cutoff=0.5)
    assert [band.requires_grad for pair in bands for band in pair] == [True, True, False, False]
    sum((mine - theirs).square().sum() for mine, theirs in zip(*bands, strict=True)).backward()
    assert teacher.grad is None
    alone = features(3, 16).requires_grad_()
    sum(
        (mine - theirs.detach()).square().sum()
        for mine, theirs in zip(split_bands(alone, cutoff=0.5), bands[1], strict=True)
    ).backward()
    assert torch.equal(student.grad, alone.grad)


def test_both_must_be_matrices_of_several_channels() -> None:
    with pytest.raises(ValueError, match="at least 2 channels"):
        split_bands_of_both(torch.ones(3, 1), torch.ones(3, 1), cutoff=0.5)
