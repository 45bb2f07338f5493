import numpy as np
import pytest
from media_files import flac_claiming, sound, tone, wav_header

from fdkd_core.modalities import KINDS
from fdkd_core.modalities.base import RowError
from fdkd_core.modalities.log_mel import mel_bands
from fdkd_core.modalities.options import OptionError

AUDIO = KINDS["audio"]
RNG = np.random.default_rng(0)


def resolve(*files, **options):
    return AUDIO.resolve(options, [AUDIO.inspect(file) for file in files])


def test_defaults_for_spoken_digits():
    recipe = resolve(*[sound(tone(seconds)) for seconds in np.linspace(0.2, 0.66, 30)])
    assert recipe["rate_hz"] == 8000
    assert (recipe["window"], recipe["hop"], recipe["n_fft"], recipe["mels"]) == (200, 80, 256, 40)
    assert recipe["input_shape"] == [1, 40, 64]
    assert recipe["version"] == "logmel-1"


def test_most_common_rate_up_to_16_khz():
    assert resolve(*[sound(tone(0.3, rate), rate) for rate in (8000, 11025, 11025)])["rate_hz"] == 11_025
    assert resolve(sound(tone(0.3, 44_100), 44_100))["rate_hz"] == 16_000
    assert resolve(sound(tone(0.3)), rate_hz=12_000)["rate_hz"] == 12_000


def test_frames_fit_95_percent_and_are_bounded():
    many = [sound(tone(0.5))] * 38 + [sound(tone(5.0))] * 2
    frames = resolve(*many)["input_shape"][2]
    assert frames % 8 == 0
    assert 48 <= frames < 300
    long = resolve(sound(tone(30.0)))
    assert long["input_shape"][2] == 1024
    assert "the most without stating more" in long["notes"][1]
    assert resolve(sound(tone(30.0)), frames=2000)["input_shape"][2] == 2000


@pytest.mark.parametrize(("mels", "rate"), [(40, 8000), (128, 8000), (64, 4000), (256, 16_000)])
def test_every_band_has_a_bin(mels, rate):
    recipe = resolve(sound(tone(0.5, rate), rate), mels=mels)
    bands = mel_bands(rate, recipe["n_fft"], mels, recipe["fmin_hz"], recipe["fmax_hz"])
    assert np.add.reduceat(bands.weights, bands.starts).min() > 0


@pytest.mark.parametrize(
    ("container", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 0.2),
        ("WAV", "PCM_16", 0.01),
        ("WAV", "PCM_24", 0.001),
        ("WAV", "PCM_32", 0.001),
        ("WAV", "FLOAT", 0.001),
        ("WAV", "DOUBLE", 0.001),
        ("WAVEX", "PCM_16", 0.01),
        ("FLAC", "PCM_16", 0.01),
        ("FLAC", "PCM_24", 0.001),
    ],
)
def test_encodings_agree(container, subtype, tolerance):
    samples = tone(0.5) + 0.05 * RNG.standard_normal(4000)
    recipe = resolve(sound(samples, subtype="FLOAT"))
    expected = AUDIO.decode(sound(samples, subtype="FLOAT"), recipe)
    found = AUDIO.decode(sound(samples, container=container, subtype=subtype), recipe)
    assert np.abs(found - expected).mean() < tolerance


def test_channels_are_averaged():
    recipe = resolve(sound(tone(0.5)))
    left, right = tone(0.5), tone(0.5, frequency_hz=1500)
    both = AUDIO.decode(sound(np.stack([left, right], axis=1), subtype="FLOAT"), recipe)
    mono = AUDIO.decode(sound((left + right) / 2, subtype="FLOAT"), recipe)
    np.testing.assert_allclose(both, mono, atol=1e-3)


def test_resampling_keeps_the_spectrum():
    recipe = resolve(sound(tone(0.5)))
    found = AUDIO.decode(sound(tone(0.5, 44_100), 44_100, subtype="FLOAT"), recipe)
    expected = AUDIO.decode(sound(tone(0.5), subtype="FLOAT"), recipe)
    loud = expected > -2
    np.testing.assert_allclose(found[loud], expected[loud], atol=0.2)


def test_short_recordings_end_in_silence_and_long_ones_are_cut_at_the_end():
    recipe = resolve(sound(tone(0.5)), frames=48)
    floor = np.float32(np.log(np.float32(recipe["log_floor"])))
    short = AUDIO.decode(sound(tone(0.1)), recipe)
    assert (short[:, :, 8:] == floor).all()
    assert (short[:, :, :8] > floor).any(axis=1).all()
    long = sound(tone(2.0) * np.linspace(0, 1, 16_000))
    np.testing.assert_array_equal(
        AUDIO.decode(long, recipe), AUDIO.decode(long, recipe | {"input_shape": [1, 40, 96]})[:, :, :48]
    )


def test_a_recording_of_one_sample():
    decoded = AUDIO.decode(sound(np.array([0.5])), resolve(sound(tone(0.5))))
    assert np.isfinite(decoded).all()


def test_statistics_are_per_band_over_frames_with_sound():
    recipe = resolve(sound(tone(0.5)), frames=48)
    decoded = np.stack(
        [AUDIO.decode(sound(0.1 * RNG.standard_normal(samples)), recipe) for samples in (800, 2000, 4000)]
    )
    fitted = AUDIO.fit(decoded, recipe)
    floor = decoded.min()
    frames = [decoded[i, 0, :, t] for i in range(3) for t in range(48) if (decoded[i, 0, :, t] > floor).any()]
    np.testing.assert_allclose(fitted["mean"], np.mean(frames, axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(fitted["std"], np.std(frames, axis=0, dtype=np.float64), rtol=1e-9)
    assert len(frames) < 3 * 48


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (wav_header(claimed_bytes=4_000_000_000), "truncated"),
        (wav_header(claimed_bytes=0xFFFFFFFF), "truncated"),
        (wav_header(claimed_bytes=102), "truncated"),
        (wav_header(claimed_bytes=100, rate_hz=0), "invalid_audio"),
        (wav_header(claimed_bytes=100, rate_hz=3999), "invalid_audio"),
        (wav_header(claimed_bytes=100, rate_hz=192_001), "invalid_audio"),
        (wav_header(claimed_bytes=8000, channels=1000, content=bytes(8000)), "invalid_audio"),
        (wav_header(claimed_bytes=100, channels=0), "invalid_audio"),
        (wav_header(claimed_bytes=0, content=b""), "invalid_audio"),
        (wav_header(claimed_bytes=100, tag=0x11, bits=4), "unsupported_format"),
        (wav_header(claimed_bytes=100, bits=12), "unsupported_format"),
        (sound(tone(0.5), subtype="IMA_ADPCM"), "unsupported_format"),
        (sound(tone(0.5), subtype="ULAW"), "unsupported_format"),
        (sound(tone(0.5), container="OGG", subtype="VORBIS"), "unsupported_format"),
        (sound(np.zeros(61 * 8000), container="FLAC"), "audio_too_long"),
        (sound(np.zeros(61 * 8000)), "audio_too_long"),
        (flac_claiming((1 << 36) - 1), "audio_too_long"),
        (flac_claiming(0), "invalid_audio"),
        (flac_claiming(8000), "invalid_audio"),
        (b"RIFF\x00\x00\x00\x00WAVE", "truncated"),
        (b"RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00", "invalid_audio"),
        (b"RIFF\x00\x00\x00\x00WAVE" + b"junk\x00\x00\x00\x00" * 2000, "invalid_audio"),
        (b"fLaC\x00\x00\x00\x22", "truncated"),
        (b"MThd", "unsupported_format"),
        (np.zeros(100, np.float32), "unsupported_format"),
    ],
)
def test_bad_recordings(raw, code):
    recipe = resolve(sound(tone(0.5)))
    with pytest.raises(RowError) as error:
        AUDIO.decode(raw, recipe)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("container", "subtype", "name"),
    [("OGG", "VORBIS", "Ogg"), ("MP3", None, "MP3"), ("AIFF", "PCM_16", "AIFF")],
)
def test_other_formats_are_called_by_their_names(container, subtype, name):
    with pytest.raises(RowError, match=f"expected a WAV or FLAC file, found {name}$"):
        AUDIO.decode(sound(tone(0.5), container=container, subtype=subtype), resolve(sound(tone(0.5))))


@pytest.mark.parametrize(
    ("raw", "name"),
    [(b"\xff\xf1\x50\x80", "AAC"), (b"\xff\xfea\x00", "b'"), (b"\x00\x00\x00\x20ftypM4A ", "MPEG-4")],
)
def test_so_are_those_that_are_not_made_here(raw, name):
    """UTF-16 begins like the sync word of MPEG audio, and is text."""
    with pytest.raises(RowError) as error:
        AUDIO.decode(raw, resolve(sound(tone(0.5))))
    assert str(error.value).startswith(f"expected a WAV or FLAC file, found {name}")


def test_cut_flac_is_refused():
    whole = sound(RNG.uniform(-1, 1, 20_000), container="FLAC")
    with pytest.raises(RowError) as error:
        AUDIO.decode(whole[: len(whole) // 2], resolve(sound(tone(0.5))))
    assert error.value.code in ("truncated", "invalid_audio")


def test_length_is_checked_before_anything_is_decoded(monkeypatch):
    raw = sound(np.zeros(8000))
    monkeypatch.setattr("soundfile.SoundFile", lambda *_: pytest.fail("opened"))
    with pytest.raises(RowError, match=r"1\.0 s; at most 0\.5 s"):
        AUDIO.decode(raw, resolve(raw, max_seconds=0.5))


def test_float_recordings_with_nan():
    samples = tone(0.5)
    samples[100] = np.nan
    with pytest.raises(RowError) as error:
        AUDIO.decode(sound(samples, subtype="FLOAT"), resolve(sound(tone(0.5))))
    assert error.value.code == "invalid_values"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"rate": 8000}, "/rate"),
        ({"rate_hz": 100}, "/rate_hz"),
        ({"fmax_hz": 5000.0}, "/fmax_hz"),
        ({"fmin_hz": 3000.0, "fmax_hz": 2000.0}, "/fmax_hz"),
        ({"mels": 256, "fmin_hz": 100.0, "fmax_hz": 101.0}, "/mels"),
    ],
)
def test_bad_options_name_their_field(options, field):
    with pytest.raises(OptionError) as error:
        resolve(sound(tone(0.5)), **options)
    assert error.value.problems[0].pointer == field


def test_augmentation_masks_with_the_mean_and_shifts_silence_in():
    recipe = resolve(sound(tone(0.5)), frames=48)
    recipe |= {"mean": [-5.0] * 40, "std": [2.0] * 40}
    inputs = np.full((64, 1, 40, 48), 7.0, np.float32)
    changed = AUDIO.augment(inputs, np.random.default_rng(0), "strong", recipe)
    silence = AUDIO.to_input(np.full((1, 1, 40, 1), np.log(np.float32(recipe["log_floor"]))), recipe)[
        0, 0, 0, 0
    ]
    assert set(np.unique(changed)) == {np.float32(7.0), np.float32(0.0), silence}
    assert (changed == 7.0).mean() > 0.4
