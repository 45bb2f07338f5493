import math

import numpy as np
import pytest

from fdkd_core.modalities.log_mel import count_frames, hz_to_mel, log_mel, mel_bands, mel_to_hz

SETTINGS = {
    "rate_hz": 8000,
    "window": 200,
    "hop": 80,
    "n_fft": 256,
    "n_mels": 40,
    "fmin_hz": 20.0,
    "fmax_hz": 4000.0,
    "log_floor": 1e-4,
}


def naive(samples, *, rate_hz, window, hop, n_fft, n_mels, fmin_hz, fmax_hz, log_floor):
    """The module's formulas as loops over float64, with a plain DFT."""

    def mel(hz):
        return 2595 * math.log10(1 + hz / 700)

    edges = [
        700 * (10 ** ((mel(fmin_hz) + (mel(fmax_hz) - mel(fmin_hz)) * i / (n_mels + 1)) / 2595) - 1)
        for i in range(n_mels + 2)
    ]
    num_frames = 1 + (len(samples) - window) // hop
    output = np.zeros((n_mels, num_frames))
    dft = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(window)) / n_fft)
    for t in range(num_frames):
        frame = [
            samples[t * hop + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / window)) for n in range(window)
        ]
        power = np.abs(dft @ np.array(frame, np.float64)) ** 2
        for m in range(n_mels):
            left, center, right = edges[m : m + 3]
            total = 0.0
            for f in range(n_fft // 2 + 1):
                hz = f * rate_hz / n_fft
                total += power[f] * max(
                    0.0, min((hz - left) / (center - left), (right - hz) / (right - center))
                )
            output[m, t] = math.log(max(total, log_floor))
    return output


def clip(num_samples: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    time_s = np.arange(num_samples) / 8000
    return (
        0.4 * np.sin(2 * np.pi * 500 * time_s * (1 + time_s)) + 0.05 * rng.standard_normal(num_samples)
    ).astype(np.float32)


@pytest.mark.parametrize(
    "change",
    [{}, {"n_fft": 512, "n_mels": 64}, {"window": 256, "hop": 100, "fmin_hz": 0.0, "fmax_hz": 3000.0}],
)
def test_equals_the_formulas_in_float64(change):
    samples = clip(4000)
    found = log_mel(samples, **(SETTINGS | change))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, naive(samples, **(SETTINGS | change)), atol=2e-4)


def test_many_frames_equal_frame_by_frame():
    samples = clip(80 * 1200)
    whole = log_mel(samples, **SETTINGS)
    assert whole.shape == (40, count_frames(len(samples), 200, 80))
    for t in (0, 511, 512, 1023, 1024, whole.shape[1] - 1):
        single = log_mel(samples[t * 80 : t * 80 + 200], **SETTINGS)
        np.testing.assert_allclose(whole[:, t], single[:, 0], atol=1e-5)


def test_the_same_bits_every_time_and_when_stopped_early():
    samples = clip(8000)
    first = log_mel(samples, **SETTINGS)
    assert log_mel(samples.copy(), **SETTINGS).tobytes() == first.tobytes()
    np.testing.assert_array_equal(log_mel(samples, **SETTINGS, max_frames=10), first[:, :10])


def test_silence_is_the_floor_and_a_short_clip_is_one_frame():
    found = log_mel(np.zeros(50, np.float32), **SETTINGS)
    assert found.shape == (40, 1)
    assert (found == np.float32(np.log(np.float32(1e-4)))).all()


def test_a_tone_lands_in_its_band():
    found = log_mel(np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000).astype(np.float32), **SETTINGS)
    centers_hz = mel_to_hz(np.linspace(hz_to_mel(20.0), hz_to_mel(4000.0), 42))[1:-1]
    assert abs(centers_hz[found.mean(axis=1).argmax()] - 1000) < 60


def test_triangles_cover_every_inner_bin_with_weight_1():
    total = np.zeros(257)
    bands = mel_bands(16_000, 512, 40, 0.0, 8000.0)
    np.add.at(total, bands.bins, bands.weights)
    edges_hz = mel_to_hz(np.linspace(hz_to_mel(0.0), hz_to_mel(8000.0), 42))
    bins_hz = np.arange(257) * 16_000 / 512
    inner = (bins_hz >= edges_hz[1]) & (bins_hz <= edges_hz[-2])
    np.testing.assert_allclose(total[inner], 1, atol=1e-6)


def test_a_band_without_a_bin_is_silent():
    assert mel_bands(8000, 16, 40, 20.0, 4000.0).num_empty > 0
    found = log_mel(clip(4000), **(SETTINGS | {"window": 16, "n_fft": 16}))
    assert (found == np.float32(np.log(np.float32(1e-4)))).all(axis=1).any()
    assert (found > 0).any()
