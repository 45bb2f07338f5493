"""Recordings: WAV or FLAC files as a log-mel picture, float32 1 x mel bands x frames (recipe `logmel-1`)."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from pydantic import Field

from fdkd_core.errors import Problem
from fdkd_core.modalities.arrays import to_float32
from fdkd_core.modalities.base import (
    AugmentStrength,
    Facts,
    RawValue,
    Recipe,
    RecipeModel,
    RowError,
    StandardisedRecipe,
)
from fdkd_core.modalities.log_mel import count_frames, log_mel, mel_bands
from fdkd_core.modalities.options import OptionError, parse, refusal
from fdkd_core.modalities.sound_header import MIN_RATE_HZ, SoundHeader, check_length, read_sound_header
from fdkd_core.modalities.spectrogram_augmentation import shifted_and_masked
from fdkd_core.modalities.statistics import affine, mean_and_std
from fdkd_core.spec.catalogue import KindName
from fdkd_core.spec.strict import StrictModel

RateHz = Annotated[int, Field(ge=MIN_RATE_HZ, le=48_000)]
Mels = Annotated[int, Field(ge=8, le=256)]
Frames = Annotated[int, Field(ge=8, le=8192)]
Seconds = Annotated[float, Field(gt=0, le=600)]
FrequencyHz = Annotated[float, Field(ge=0, le=24_000)]

DEFAULT_MAX_RATE_HZ = 16_000
"""Speech and most sound events live below 8 kHz; a higher rate costs time and adds few bits."""
DEFAULT_MAX_FRAMES = 1024
"""About 10 s at a hop of 10 ms; longer inputs are a choice to state, for they cost every step."""
FRAME_MULTIPLE = 8
"""Three poolings of a small network halve the frames without a remainder."""
LOG_FLOOR = 1e-4
"""74 dB under a full-scale tone at 8 kHz. What lies below is mostly the room and the recorder. Measured on
spoken digits of unseen speakers (small CNN, 6 seeds, validation and test together): accuracy .57 with 1e-5,
.59 with 1e-4, .61 with 1e-3; the last leaves 10 dB less to quiet recordings."""
_READ_FRAMES = 1 << 16
"""Frames decoded at a time: 8 channels of float32 stay at 2 MiB, whatever the recording's length."""
_SUBTYPES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"}


class AudioOptions(StrictModel):
    """Options of an audio column."""

    rate_hz: RateHz | None = None
    """Rate that all recordings are brought to; the most common of the training split, at most 16 kHz."""
    mels: Mels = 40
    """Mel bands; 40 is the usual number for words at 8 to 16 kHz."""
    window_ms: Annotated[float, Field(ge=5, le=200)] = 25.0
    """Long enough for two periods of a low voice."""
    hop_ms: Annotated[float, Field(ge=2, le=200)] = 10.0
    """Sounds of speech last 30 ms and more."""
    fmin_hz: FrequencyHz = 20.0
    """Lower edge of the first band: keeps a constant offset of the recording out."""
    fmax_hz: FrequencyHz | None = None
    """Upper edge of the last band; half the rate when absent."""
    frames: Frames | None = None
    """Frames of an input; 95 % of the training recordings fit when absent."""
    max_seconds: Seconds = 60.0
    """Longer recordings are refused."""


class AudioRecipe(StandardisedRecipe):
    """`preprocess.json` of a recording; `log_mel.py` says what the numbers mean.

    Means and deviations are those of mel bands, over training frames with sound.
    """

    kind: Literal["audio"]
    version: Literal["logmel-1"]
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=8192)]], Field(min_length=3, max_length=3)]
    rate_hz: RateHz
    window: Annotated[int, Field(ge=8, le=16_384)]
    """Samples."""
    hop: Annotated[int, Field(ge=8, le=16_384)]
    """Samples."""
    n_fft: Annotated[int, Field(ge=16, le=16_384)]
    mels: Mels
    fmin_hz: FrequencyHz
    fmax_hz: FrequencyHz
    log_floor: Annotated[float, Field(ge=1e-12, le=1)]
    mel_scale: Literal["htk"]
    channels: Literal["mean"]
    resampler: Literal["soxr_hq"]
    crop: Literal["start"]
    pad: Literal["end_with_log_floor"]
    max_seconds: Seconds

    @property
    def num_standardised(self) -> int:
        """Bands, which are the second axis."""
        return self.mels

    def check(self) -> None:
        """Statistics, shape, window and bands agree."""
        super().check()
        if self.input_shape[:2] != [1, self.mels]:
            raise refusal("incompatible", f"found {self.mels} bands in a shape of {self.input_shape}")
        if self.window > self.n_fft or not self.fmin_hz < self.fmax_hz <= self.rate_hz / 2:
            raise refusal(
                "incompatible", "the window must fit n_fft, and the bands must rise to half the rate"
            )


class AudioKind:
    """Recordings."""

    name: KindName = "audio"
    version = "logmel-1"
    is_native = True
    stored_dtype = np.dtype(np.float32)
    options_model = AudioOptions
    recipe_model: type[RecipeModel] = AudioRecipe

    def inspect(self, raw: RawValue) -> Facts:
        """Rate and length, from the header."""
        header = read_sound_header(_require_bytes(raw))
        return {"rate_hz": header.rate_hz, "seconds": header.seconds}

    def resolve(self, options: dict[str, Any], facts: Sequence[Facts]) -> Recipe:
        """Fixes rate, bands and frames; 95 % of the training recordings fit."""
        stated = parse(AudioOptions, options)
        rate_hz, why_rate = _choose_rate(stated, facts)
        fmax_hz = rate_hz / 2 if stated.fmax_hz is None else float(stated.fmax_hz)
        if not stated.fmin_hz < fmax_hz <= rate_hz / 2:
            detail = f"found {stated.fmin_hz:g} to {fmax_hz:g} Hz; bands rise and end by {rate_hz / 2:g} Hz"
            raise OptionError(Problem("out_of_range", detail, "/fmax_hz"))
        window = max(8, round(rate_hz * stated.window_ms / 1000))
        hop = max(8, round(rate_hz * stated.hop_ms / 1000))
        n_fft = _choose_n_fft(rate_hz, window, stated.mels, float(stated.fmin_hz), fmax_hz)
        frames, why_frames = _choose_frames(stated, facts, rate_hz, window, hop)
        return {
            "kind": self.name,
            "version": self.version,
            "input_shape": [1, stated.mels, frames],
            "input_dtype": "float32",
            "rate_hz": rate_hz,
            "window": window,
            "hop": hop,
            "n_fft": n_fft,
            "mels": stated.mels,
            "fmin_hz": float(stated.fmin_hz),
            "fmax_hz": fmax_hz,
            "log_floor": LOG_FLOOR,
            "mel_scale": "htk",
            "channels": "mean",
            "resampler": "soxr_hq",
            # Recordings of a set begin with what they are about, and padding goes to the end: cropped
            # and padded ones then line up at the start.
            "crop": "start",
            "pad": "end_with_log_floor",
            "max_seconds": float(stated.max_seconds),
            "notes": [why_rate, why_frames],
        }

    def decode(self, raw: RawValue, recipe: Recipe) -> NDArray[np.float32]:
        """Mono, resampled, as log-mel; cropped at the end or filled up with silence."""
        samples = mono_samples(raw, recipe)
        _, mels, frames = recipe["input_shape"]
        spectrogram = log_mel(
            samples,
            rate_hz=recipe["rate_hz"],
            window=recipe["window"],
            hop=recipe["hop"],
            n_fft=recipe["n_fft"],
            n_mels=mels,
            fmin_hz=recipe["fmin_hz"],
            fmax_hz=recipe["fmax_hz"],
            log_floor=recipe["log_floor"],
            max_frames=frames,
        )
        decoded = np.full((1, mels, frames), _floor_of(recipe), np.float32)
        decoded[0, :, : spectrogram.shape[1]] = spectrogram
        return decoded

    def fit(self, decoded: NDArray[Any], recipe: Recipe) -> Recipe:
        """Statistics per band, over frames with sound.

        Per band, because sounds fall by some 20 dB from low to high bands, and networks without shared
        filters see the scale of each. (One scale for all was as accurate with a small CNN on spoken
        digits.) Frames wholly at the floor are left out: they are mostly padding, and how much of it
        there is says nothing about the sound.
        """
        floor = _floor_of(recipe)

        def is_sound(piece: NDArray[Any]) -> NDArray[np.bool_]:
            return np.broadcast_to((piece > floor).any(axis=2, keepdims=True), piece.shape)

        mean, std = mean_and_std(decoded, keep_axis=2, is_counted=is_sound)
        return recipe | {"mean": mean.tolist(), "std": std.tolist()}

    def to_input(self, decoded: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
        """Standardised per mel band."""
        return affine(decoded, recipe["mean"], recipe["std"], (1, 1, -1, 1))

    def augment(
        self, inputs: NDArray[Any], rng: np.random.Generator, strength: AugmentStrength, recipe: Recipe
    ) -> NDArray[Any]:
        """Shift in time with silence moving in, then masks of whole bands and of whole frames.

        Masked numbers become 0, the training mean.
        """
        silence = np.full((1, 1, recipe["input_shape"][1], 1), _floor_of(recipe), np.float32)
        return shifted_and_masked(inputs, rng, strength, self.to_input(silence, recipe)[0])


def mono_samples(raw: RawValue, recipe: Recipe) -> NDArray[np.float32]:
    """The recording at the recipe's rate, full scale 1, the mean over its channels: shape [n].

    Raises:
        RowError: It is not a WAV or FLAC file within the limits.
    """
    content = _require_bytes(raw)
    header = read_sound_header(content)
    check_length(header, recipe["max_seconds"])
    samples = to_float32(_read_mono(content, header))
    if header.rate_hz == recipe["rate_hz"]:
        return samples
    resampled: NDArray[np.float32] = soxr.resample(samples, header.rate_hz, recipe["rate_hz"], quality="HQ")
    return resampled


def _require_bytes(raw: RawValue) -> bytes:
    if not isinstance(raw, bytes):
        raise RowError("unsupported_format", f"expected a WAV or FLAC file, found {type(raw).__name__}")
    return raw


def _floor_of(recipe: Recipe) -> np.float32:
    """The value of silence, by the same arithmetic as `log_mel`, so that it compares equal."""
    return np.float32(np.log(np.float32(recipe["log_floor"])))


def _read_mono(content: bytes, header: SoundHeader) -> NDArray[np.float32]:
    """The mean over channels, full scale 1, of the frames that the header claims."""
    mono = np.empty(header.frames, np.float32)
    position = 0
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            found = (sound.samplerate, sound.channels, sound.frames)
            if sound.subtype not in _SUBTYPES or found != (header.rate_hz, header.channels, header.frames):
                raise RowError("invalid_audio", f"the {header.format} contradicts its own header")
            while position < header.frames:
                wanted = min(_READ_FRAMES, header.frames - position)
                block = sound.read(wanted, dtype="float32", always_2d=True)
                if len(block) == 0:
                    break
                mono[position : position + len(block)] = (
                    block.mean(axis=1) if header.channels > 1 else block[:, 0]
                )
                position += len(block)
    except soundfile.SoundFileError:
        raise RowError("invalid_audio", f"the {header.format} cannot be decoded") from None
    if position < header.frames:
        raise RowError(
            "truncated", f"the {header.format} claims {header.frames} samples, but holds {position}"
        )
    return mono


def _choose_rate(stated: AudioOptions, facts: Sequence[Facts]) -> tuple[int, str]:
    if stated.rate_hz is not None:
        return stated.rate_hz, f"rate: {stated.rate_hz} Hz, as stated"
    if not facts:
        raise OptionError(Problem("missing_field", "no training recording to infer a rate from", "/rate_hz"))
    counts = Counter(int(fact["rate_hz"]) for fact in facts)
    most_common = max(counts, key=lambda rate_hz: (counts[rate_hz], rate_hz))
    rate_hz = min(most_common, DEFAULT_MAX_RATE_HZ)
    share = f"{counts[most_common]} of {len(facts)} training recordings"
    return rate_hz, f"rate: {rate_hz} Hz, from {most_common} Hz, the rate of {share}"


def _choose_n_fft(rate_hz: int, window: int, mels: int, fmin_hz: float, fmax_hz: float) -> int:
    """The power of two from `window` up at which every band covers a bin of the transform."""
    n_fft = 1 << max(4, (window - 1).bit_length())
    while mel_bands(rate_hz, n_fft, mels, fmin_hz, fmax_hz).num_empty:
        n_fft *= 2
        if n_fft > 16_384:
            detail = f"{mels} bands between {fmin_hz:g} and {fmax_hz:g} Hz are too narrow for a spectrum"
            raise OptionError(Problem("out_of_range", detail, "/mels"))
    return n_fft


def _choose_frames(
    stated: AudioOptions, facts: Sequence[Facts], rate_hz: int, window: int, hop: int
) -> tuple[int, str]:
    if stated.frames is not None:
        return stated.frames, f"frames: {stated.frames}, as stated"
    if not facts:
        raise OptionError(Problem("missing_field", "no training recording to infer a length from", "/frames"))
    counts = [count_frames(round(fact["seconds"] * rate_hz), window, hop) for fact in facts]
    fitting = int(np.ceil(np.percentile(counts, 95)))
    frames = -(-fitting // FRAME_MULTIPLE) * FRAME_MULTIPLE
    if frames > DEFAULT_MAX_FRAMES:
        return DEFAULT_MAX_FRAMES, (
            f"frames: {DEFAULT_MAX_FRAMES}, the most without stating more; 95 % of the recordings "
            f"would need {frames}"
        )
    return frames, f"frames: {frames}, which 95 % of the training recordings fit into"
