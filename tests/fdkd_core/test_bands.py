from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dct

from fdkd_core.bands import class_basis, dct_basis, num_low, pca_basis, random_basis, split_by_basis


def features(rows: int = 60, dim: int = 7, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(3.0, 0.2, dim)
    return torch.randn(rows, dim, generator=generator) * spread + 2.0


@pytest.mark.parametrize("dim", [2, 3, 8, 33, 256])
def test_transforms_are_orthonormal_and_blind_to_the_mean(dim: int) -> None:
    for basis in (dct_basis(dim), random_basis(dim, 0)):
        assert basis.shape == (dim, dim - 1)
        torch.testing.assert_close(basis.T @ basis, torch.eye(dim - 1), rtol=0, atol=1e-5)
        assert basis.sum(dim=0).abs().max() < 1e-4


def test_the_dct_is_scipys() -> None:
    x = features(4, 9)
    wanted = dct(x.numpy(), norm="ortho", axis=1)[:, 1:]
    np.testing.assert_allclose((x @ dct_basis(9)).numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_a_random_basis_depends_on_its_seed_alone() -> None:
    assert torch.equal(random_basis(8, 3), random_basis(8, 3))
    assert not torch.allclose(random_basis(8, 3), random_basis(8, 4))


def test_principal_directions_are_ordered_by_variance() -> None:
    x = features()
    variances = (x @ pca_basis(x)).var(dim=0)
    assert (variances.diff() <= 1e-5).all()
    np.testing.assert_allclose(
        variances.numpy(), np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / 59, rtol=1e-4
    )


@pytest.mark.parametrize("make", [pca_basis, lambda x: class_basis(x, torch.arange(len(x)) % 3)])
@pytest.mark.parametrize(("rows", "dim"), [(60, 7), (5, 12), (2, 4), (0, 4), (1, 4)])
def test_bases_of_the_teacher_are_orthonormal_whatever_the_rows(make, rows: int, dim: int) -> None:
    basis = make(features(rows, dim))
    assert basis.shape == (dim, dim)
    torch.testing.assert_close(basis.T @ basis, torch.eye(dim), rtol=0, atol=1e-4)


def test_class_means_differ_in_the_first_directions_only() -> None:
    labels = torch.arange(60) % 3
    x = features()
    x[:, 6] += labels.float() * 2  # the direction of least variance tells the classes apart
    projected = x @ class_basis(x, labels)
    means = torch.stack([projected[labels == c].mean(dim=0) for c in range(3)])
    spread = means.var(dim=0)
    assert spread[:2].sum() > 0.1
    assert spread[2:].max() < 1e-6
    # What is left is ordered by its variance.
    assert (projected[:, 2:].var(dim=0).diff() <= 1e-4).all()


def test_a_dead_teacher_has_a_class_basis() -> None:
    basis = class_basis(torch.zeros(6, 4), torch.arange(6) % 2)
    torch.testing.assert_close(basis.T @ basis, torch.eye(4), rtol=0, atol=1e-5)


def test_bands_are_orthogonal_and_add_up() -> None:
    x = features(6, 8)
    centre = x.mean(dim=1, keepdim=True)
    low, high = split_by_basis(x, dct_basis(8), centre, num_low=3)
    torch.testing.assert_close(low + high, x - centre)
    assert (low * high).sum(dim=1).abs().max() < 1e-3
    again, rest = split_by_basis(low, dct_basis(8), torch.zeros(8), num_low=3)
    torch.testing.assert_close(again, low)
    assert rest.abs().max() < 1e-5


def test_half_precision_is_raised() -> None:
    low, high = split_by_basis(features(2, 8).bfloat16(), dct_basis(8), torch.zeros(8), num_low=2)
    assert (low.dtype, high.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize(
    ("dim", "cutoff", "wanted"), [(64, 0.5, 32), (64, 0.1, 6), (2, 0.5, 1), (9, 0.99, 6)]
)
def test_the_low_band_has_the_dimensions_of_the_ffts(dim: int, cutoff: float, wanted: int) -> None:
    assert num_low(dim, cutoff) == wanted


@pytest.mark.parametrize("make", [dct_basis, lambda dim: random_basis(dim, 0)])
def test_one_channel_cannot_be_split(make) -> None:
    with pytest.raises(ValueError, match="at least 2 channels"):
        make(1)
