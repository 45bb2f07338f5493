"""Recordings prepared as the feature extractors of the transformers package prepare them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hub_folders import sounds
from media_files import sound

from fdkd_core.errors import ModelFileError
from fdkd_core.modalities import kind_of
from fdkd_core.modalities.filter_bank import kaldi_log_mel
from fdkd_core.modalities.preprocessor import Preprocessor
from fdkd_core.modalities.sound_extractors import filter_bank_recipe, waveform_recipe
from fdkd_core.spec.input_axes import MAX_STEPS

RNG = np.random.default_rng(0)
WAVE = (0.3 * np.sin(np.arange(9_000) / 7) + 0.1 * RNG.standard_normal(9_000)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # with its own default of 128 bands
@pytest.mark.parametrize(("mels", "samples"), [(128, 9_000), (40, 400), (64, 559), (23, 5_000)])
def test_the_filter_bank_is_the_package_s(mels: int, samples: int) -> None:
    from transformers.models.audio_spectrogram_transformer import ASTFeatureExtractor

    theirs = ASTFeatureExtractor(num_mel_bins=mels, max_length=30, do_normalize=False)
    wanted = theirs(WAVE[:samples], sampling_rate=16_000)["input_values"][0].T
    found = kaldi_log_mel(WAVE[:samples], mels, 30)
    assert found.shape == (mels, min(30, 1 + (samples - 400) // 160))
    np.testing.assert_allclose(found, wanted[:, : found.shape[1]], rtol=0, atol=2e-4)
    assert not wanted[:, found.shape[1] :].any()


def test_by_hand_a_single_frame_of_silence_and_of_a_constant() -> None:
    """A constant is taken off with the mean: what is left is the floor of every band."""
    for wave in (np.zeros(400, np.float32), np.full(400, 0.5, np.float32)):
        np.testing.assert_allclose(kaldi_log_mel(wave, 20, 9), np.full((20, 1), np.log(2.0**-23)), rtol=1e-6)
    assert kaldi_log_mel(np.zeros(399, np.float32), 20, 9).shape == (20, 0)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_waveform_is_the_package_s(normalise: bool) -> None:
    from transformers.models.wav2vec2 import Wav2Vec2FeatureExtractor

    theirs = Wav2Vec2FeatureExtractor(do_normalize=normalise, return_attention_mask=True)
    prepared = Preprocessor(waveform_recipe(16_000, 4_000, normalise=normalise, notes=[]))
    recordings = sounds(RNG)
    arrays = [_read(recording) for recording in recordings]
    wanted = theirs(
        arrays, sampling_rate=16_000, padding="max_length", max_length=4_000, truncation=True,
        return_tensors="np",
    )["input_values"]  # fmt: skip
    np.testing.assert_allclose(prepared.prepare(recordings)[:, 0], wanted, rtol=0, atol=2e-6)


RECIPES: list[dict[str, Any]] = [
    filter_bank_recipe(40, 64, -4.0, 4.5, ["a note"]),
    waveform_recipe(16_000, 1_000, normalise=True, notes=[]),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: str(recipe["version"]))
def test_a_recipe_is_kept_to_the_bit_and_augmentation_is_seeded(recipe: dict[str, Any]) -> None:
    prepared = Preprocessor.from_json(Preprocessor(recipe).to_json())
    inputs = prepared.prepare(sounds(RNG))
    assert inputs.shape == (4, *recipe["input_shape"])
    kind = kind_of(recipe)
    assert kind.augment(inputs, np.random.default_rng(1), "none", recipe) is inputs
    before = inputs.copy()
    changed, again = (kind.augment(inputs, np.random.default_rng(1), "light", recipe) for _ in range(2))
    np.testing.assert_array_equal(changed, again)
    np.testing.assert_array_equal(inputs, before)
    assert not np.array_equal(changed, inputs)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: str(recipe["version"]))
def test_another_rate_is_resampled(recipe: dict[str, Any]) -> None:
    time = np.arange(24_000) / 48_000
    slow, fast = (np.sin(2 * np.pi * 500 * t) for t in (time[::3], time))
    prepared = Preprocessor(recipe)
    found = prepared.prepare([sound(slow, 16_000), sound(fast, 48_000)])
    middle = found[..., recipe["input_shape"][-1] // 4 : recipe["input_shape"][-1] // 2]
    assert np.corrcoef(middle[0].ravel(), middle[1].ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        (RECIPES[0], {"frames": 65}),
        (RECIPES[0], {"std": [0.0]}),
        (RECIPES[0], {"mean": [0.0, 0.0]}),
        (RECIPES[0], {"rate_hz": 8_000}),
        (RECIPES[0], {"input_shape": [1, 40, 100_000], "frames": 100_000}),
        (RECIPES[1], {"input_shape": [2, 1_000]}),
        (RECIPES[1], {"input_shape": [1, MAX_STEPS + 1]}),
        (RECIPES[1], {"version": "waveform-2"}),
        (RECIPES[1], {"version": ["waveform-1"]}),
        (RECIPES[1], {"kind": "image"}),
    ],
)
def test_recipes_that_are_refused(recipe: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError):
        Preprocessor({**recipe, **changes})


def _read(recording: bytes) -> Any:
    return Preprocessor(waveform_recipe(16_000, 20_000, normalise=False, notes=[])).prepare([recording])[
        0, 0, : (len(recording) - 44) // 2
    ]
