"""Spoken English digits from a small formant synthesiser, so that the example needs no recordings of people.

The signal chain is that of Klatt (1980): a glottal pulse train and aspiration noise pass through a cascade of
formant resonators, frication noise through a band of its own in parallel, and both through a microphone in a
room. Frames of 5 ms, as there; 16 kHz inside, 8 kHz out. Every number is drawn from the generator that is
passed in: the same seed gives the same samples.

References:
    Peterson and Barney (1952), "Control methods used in a study of the vowels", JASA 24: plain vowels, and
        what women and children differ by.
    Klatt (1980), "Software for a cascade/parallel formant synthesizer", JASA 67: diphthongs (Table II),
        consonants before front vowels (Table III), bandwidths, nasal pole and zero, F4 to F6.
    Klatt and Klatt (1990), "Analysis, synthesis, and perception of voice quality variations among female and
        male talkers", JASA 87: the glottal pulse KLGLOTT88 and breathiness.
Durations, noise levels and how far voices spread are choices of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from phones import NASAL_POLE_HZ, PHONE_INDEX, PHONES, PRONUNCIATIONS
from scipy import fft, signal  # type: ignore[import-untyped]

RATE_HZ = 8000
"""Of what `speak` returns: telephone speech, enough for words and half the work of 16 kHz."""
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Floats = NDArray[np.float64]

_INNER_HZ = 16_000
"""Half of it lies above the formants of children and the noise of s, which must not fold down."""
_FRAME = _INNER_HZ // 200
_HIGHER_FORMANTS_HZ = (3300.0, 3750.0, 4900.0)
_HIGHER_BANDWIDTHS_HZ = (250.0, 200.0, 1000.0)

Kind = Literal["man", "woman", "child"]
_KINDS: tuple[Kind, ...] = ("man", "man", "woman", "woman", "child")


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """Who speaks: what stays the same over all words of one person."""

    kind: Kind
    tract_scale: float
    """Formants relative to the men of Peterson and Barney: a shorter vocal tract has higher ones."""
    pitch_hz: float
    """Mean over a word."""
    rate: float
    """Speed; durations are divided by it."""
    breathiness: float
    """Aspiration noise beside a stressed vowel, 0 to about 0.1; breathy voices also lose their highs."""
    open_quotient: float
    """Share of a glottal cycle in which the folds are apart."""
    coarticulation_s: float
    """Time over which formants glide from one target to the next."""
    accent: NDArray[np.float64]
    """Shape [phones, 3]: factors on F1 to F3 of each phone, this person's habits."""
    habits: NDArray[np.float64]
    """Shape [10]: how likely each word is said in the second of its two ways, 0 to 1."""


# From Peterson and Barney (1952), Table II: the geometric mean over ten vowels and three formants relative to
# men, and the mean pitch. Spreads are ours.
_TRACTS = {"man": (1.0, 0.05), "woman": (1.16, 0.05), "child": (1.35, 0.06)}
_PITCHES_HZ = {"man": 132.0, "woman": 223.0, "child": 264.0}
_ACCENT_SPREAD = 0.05
"""How far a person's formants lie from the mean beyond the size of the tract: a factor of 5 %, so that
neighbouring vowels of different people overlap somewhat, as in Peterson and Barney's Fig. 8."""


def sample_voice(rng: np.random.Generator) -> Voice:
    """Draws a person: two of five are men, two women and one a child.

    Args:
        rng: The only source of chance.
    """
    kind = _KINDS[rng.integers(len(_KINDS))]
    scale_mean, scale_spread = _TRACTS[kind]
    return Voice(
        kind=kind,
        tract_scale=scale_mean * float(np.exp(rng.normal(0, scale_spread))),
        pitch_hz=_PITCHES_HZ[kind] * float(np.exp(rng.normal(0, 0.15))),
        rate=float(np.exp(rng.normal(0, 0.15))),
        breathiness=float(rng.uniform(0.0, 0.10)),
        open_quotient=float(rng.uniform(0.45, 0.80)),
        coarticulation_s=float(rng.uniform(0.05, 0.11)),
        accent=np.exp(rng.normal(0, _ACCENT_SPREAD, (len(PHONES), 3))),
        habits=rng.beta(0.5, 0.5, len(WORDS)),
    )


def speak(digit: int, voice: Voice, rng: np.random.Generator) -> NDArray[np.float32]:
    """One recording of a person saying a digit: articulation, then room, microphone and noise.

    Args:
        digit: 0 to 9.
        voice: Who speaks.
        rng: The only source of chance: no two recordings of a word are the same.

    Returns:
        Samples at `RATE_HZ`, full scale 1; about 0.3 to 1.1 s.
    """
    return _record(_articulate(digit, voice, rng), rng)


# --- articulation -------------------------------------------------------------------------------------------


def _articulate(digit: int, voice: Voice, rng: np.random.Generator) -> Floats:
    """The word as it leaves the lips, at `RATE_HZ`, without room or noise."""
    ways = PRONUNCIATIONS[digit]
    names = ways[int(len(ways) > 1 and rng.random() < voice.habits[digit])].split()
    phones = [PHONES[name] for name in names]
    seconds = (
        np.array([phone.seconds for phone in phones]) / voice.rate * np.exp(rng.normal(0, 0.15, len(phones)))
    )
    seconds[-1] *= 1.2  # the last sound before a pause is drawn out
    counts = np.maximum(1, np.round(seconds * _INNER_HZ / _FRAME)).astype(int)

    def glide(targets: Floats | list[float], seconds: float, *, is_amplitude: bool) -> Floats:
        """Target per phone to track per frame; amplitudes start and end at nothing."""
        steps_T = np.repeat(np.asarray(targets, np.float64), counts, axis=0)
        width = [(_REST, _REST)] + [(0, 0)] * (steps_T.ndim - 1)
        padded = np.pad(steps_T, width) if is_amplitude else np.pad(steps_T, width, mode="edge")
        return _smooth(padded, seconds)

    scale = voice.tract_scale
    shift_N3 = voice.accent[[PHONE_INDEX[name] for name in names]] * np.exp(
        rng.normal(0, 0.03, (len(phones), 3))
    )
    formants_T3 = glide(
        np.array([phone.formants_hz for phone in phones]) * shift_N3 * scale,
        voice.coarticulation_s,
        is_amplitude=False,
    )
    bandwidths_T3 = glide(np.array([phone.bandwidths_hz for phone in phones]), 0.03, is_amplitude=False)
    zeros_T = glide([phone.nasal_zero_hz for phone in phones], 0.03, is_amplitude=False)
    voicing_T = glide([phone.voicing for phone in phones], 0.025, is_amplitude=True)
    aspiration_T = glide([phone.aspiration for phone in phones], 0.02, is_amplitude=True)

    pulses, is_open = _glottis(_samples(_pitch(len(voicing_T), voice, rng)), voice, rng)
    voicing = _samples(voicing_T)
    breath = _samples(aspiration_T) + voice.breathiness * voicing * is_open
    source = voicing * pulses + breath * rng.normal(0, 1, len(pulses))
    sound = _tract(source, formants_T3, bandwidths_T3, zeros_T, scale)

    noise = rng.normal(0, 1, len(sound))
    for band in dict.fromkeys(phone.noise_hz for phone in phones if phone.frication):
        levels = [phone.frication if phone.noise_hz == band else 0.0 for phone in phones]
        envelope = _samples(glide(levels, 0.015, is_amplitude=True))
        # The folds let air through in puffs, and noise is made from that air: half of it while they are shut.
        puffs = np.where((voicing > 0.05) & ~is_open, 0.5, 1.0)
        sound = sound + envelope * puffs * _band_noise(noise, band[0] * np.sqrt(scale), band[1])
    decimated: Floats = signal.resample(sound, len(sound) * RATE_HZ // _INNER_HZ)
    return decimated


_REST = 8
"""Frames before and after a word, for what rings and fades."""


def _smooth(tracks_T: Floats, seconds: float) -> Floats:
    """Moves from target to target along half a cosine or so, anticipating the next: a Hann-weighted mean."""
    half = max(1, round(seconds * _INNER_HZ / _FRAME / 2))
    weights = np.hanning(2 * half + 3)[1:-1]
    padding = [(half, half)] + [(0, 0)] * (tracks_T.ndim - 1)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(tracks_T, padding, mode="edge"), len(weights), axis=0
    )
    smoothed: Floats = windows @ (weights / weights.sum())
    return smoothed


def _samples(track_T: Floats) -> Floats:
    """A track per frame as one per sample, on straight lines between the middles of frames."""
    middles = (np.arange(len(track_T)) + 0.5) * _FRAME
    return np.interp(np.arange(len(track_T) * _FRAME), middles, track_T)


def _pitch(num_frames: int, voice: Voice, rng: np.random.Generator) -> Floats:
    """Hz per frame: falling through the word as in a statement, now and then rising as in a list."""
    time = np.linspace(0, 1, num_frames)
    start, end = rng.normal(2, 1), rng.normal(-4, 1.5) if rng.random() < 0.8 else rng.normal(3, 1.5)
    hump = rng.normal(1, 1) * np.sin(np.pi * time)
    semitones = start + (end - start) * time + hump + rng.normal(0, 0.8)
    return np.asarray(voice.pitch_hz * 2 ** (semitones / 12))


def _glottis(pitch_hz: Floats, voice: Voice, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """Glottal flow, differentiated as lips radiate it, and whether the folds are apart, per sample.

    Flow during the open phase x in [0, 1) is x^2 - x^3 (KLGLOTT88). Jitter is about 1 % of the period and
    shimmer 5 % of the amplitude.
    """
    phase = np.cumsum(pitch_hz) / _INNER_HZ
    cycles = np.arange(int(phase[-1]) + 3)
    onsets = cycles + rng.normal(0, 0.01, len(cycles)) - 0.5
    phase = np.interp(phase, onsets, cycles)
    cycle = phase.astype(int)
    opening = (phase - cycle) / voice.open_quotient
    is_open = opening < 1
    pulses = np.where(is_open, 2 * opening - 3 * opening**2, 0.0)
    pulses *= 1 + rng.normal(0, 0.05, len(cycles))[cycle]
    tilt = 0.2 + 5 * voice.breathiness  # 0.2 to 0.7: folds that close slowly make fewer high harmonics
    tilted: Floats = signal.lfilter([1 - tilt], [1, -tilt], pulses)
    return tilted, is_open


def _tract(
    source: Floats, formants_T3: Floats, bandwidths_T3: Floats, zeros_T: Floats, scale: float
) -> Floats:
    """The cascade of nasal pair and six formants, with coefficients of its own in every frame.

    Pieces of the source under overlapping Hann windows are filtered each by the filter of its time, all at
    once in the spectrum, and added up with their ringing. A recursion that carries its state from frame to
    frame gives nearly the same, but is a loop in Python.
    """
    num_frames = len(formants_T3)
    higher_hz = np.tile(np.array(_HIGHER_FORMANTS_HZ) * scale, (num_frames, 1))
    higher_bandwidths_hz = np.tile(_HIGHER_BANDWIDTHS_HZ, (num_frames, 1))
    poles_hz = np.column_stack([formants_T3, higher_hz, np.full(num_frames, NASAL_POLE_HZ)])
    widths_hz = np.column_stack([bandwidths_T3, higher_bandwidths_hz, np.full(num_frames, 100.0)])
    resonators_TS3 = _resonator(poles_hz, widths_hz)
    poles_TK = resonators_TS3[:, 0]
    for section in range(1, resonators_TS3.shape[1]):
        poles_TK = _multiply(poles_TK, resonators_TS3[:, section])
    zeros_T3 = _resonator(zeros_T, np.full(num_frames, 100.0))
    gain_T1 = poles_TK.sum(axis=1, keepdims=True) / zeros_T3.sum(axis=1, keepdims=True)  # 1 at 0 Hz

    window = np.hanning(2 * _FRAME + 1)[:-1]
    pieces_TW = (
        np.lib.stride_tricks.sliding_window_view(np.pad(source, (0, _FRAME)), 2 * _FRAME)[::_FRAME] * window
    )
    response_TF = fft.rfft(zeros_T3 * gain_T1, _RINGING) / fft.rfft(poles_TK, _RINGING)
    rung_TR = fft.irfft(fft.rfft(pieces_TW, _RINGING) * response_TF, _RINGING)
    # Every _FRAME samples of the ringing are one column of blocks, added to the frame they reach into.
    blocks_TBF = rung_TR.reshape(num_frames, -1, _FRAME)
    output = np.zeros((num_frames + blocks_TBF.shape[1], _FRAME))
    for block in range(blocks_TBF.shape[1]):
        output[block : block + num_frames] += blocks_TBF[:, block]
    return output[:num_frames].ravel()


_RINGING = 12 * _FRAME
"""Samples for a piece and its ringing: 60 ms, when the narrowest formant (40 Hz) has lost 54 dB."""


def _multiply(first_TK: Floats, second_T3: Floats) -> Floats:
    """Product of polynomials, row by row."""
    product = np.zeros((len(first_TK), first_TK.shape[1] + 2))
    for power in range(3):
        product[:, power : power + first_TK.shape[1]] += first_TK * second_T3[:, power : power + 1]
    return product


def _resonator(frequency_hz: Floats, bandwidth_hz: Floats) -> Floats:
    """Denominators [1, -2 r cos, r^2] of a pair of poles (Klatt 1980, eq. 2), in a new last axis."""
    radius = np.exp(-np.pi * bandwidth_hz / _INNER_HZ)
    angle = 2 * np.pi * np.minimum(frequency_hz / _INNER_HZ, 0.48)
    return np.stack([np.ones_like(radius), -2 * radius * np.cos(angle), radius**2], axis=-1)


def _band_noise(noise: Floats, center_hz: float, bandwidth_hz: float) -> Floats:
    """Noise through one band-pass resonator, at an RMS of 1 before it is band-limited to 4 kHz."""
    poles = _resonator(np.array(center_hz), np.array(bandwidth_hz))
    filtered: Floats = signal.lfilter([1, 0, -1], poles, noise)
    return np.asarray(filtered / np.sqrt(np.mean(filtered**2)))


# --- recording ----------------------------------------------------------------------------------------------

SNR_DB = (3.0, 20.0)
"""Speech over background noise. Set so that the student of `digits.yaml`, trained on 900 recordings and their
labels alone, gets about one in ten wrong: there is something left to learn from a teacher."""


def _record(word: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
    """What a microphone in a room makes of a word: pauses, echo, its own band, noise, some level."""
    before, after = rng.uniform(0.03, 0.15), rng.uniform(0.05, 0.15)
    sound = np.pad(word, (round(before * RATE_HZ), round(after * RATE_HZ)))
    level = np.sqrt(np.mean(word**2))

    tail_s = rng.uniform(0.05, 0.30)  # time in which the echo falls by 60 dB: a car to a living room
    time_s = np.arange(round(tail_s * RATE_HZ)) / RATE_HZ
    echo = rng.normal(0, 1, len(time_s)) * 10 ** (-3 * time_s / tail_s)
    echo *= 10 ** (rng.uniform(-20, -6) / 20) / np.sqrt(np.sum(echo**2))
    echo[0] = 1.0
    size = fft.next_fast_len(len(sound) + len(echo), real=True)
    hz = np.fft.rfftfreq(size, 1 / RATE_HZ) + 1e-3
    # A second-order Butterworth slope at either end, by its magnitude alone.
    microphone = 1 / np.sqrt(
        (1 + (rng.uniform(60, 250) / hz) ** 4) * (1 + (hz / rng.uniform(2600, 3900)) ** 4)
    )
    sound = fft.irfft(fft.rfft(sound, size) * fft.rfft(echo, size) * microphone, size)[: len(sound)]

    color = rng.uniform(0.0, 0.95)  # white to the rumble of a room
    noise = signal.lfilter([1], [1, -color], rng.normal(0, 1, len(sound)))
    noise *= level / np.sqrt(np.mean(noise**2)) * 10 ** (-rng.uniform(*SNR_DB) / 20)
    sound = sound + noise

    sound *= 10 ** (rng.uniform(-32, -16) / 20) / np.sqrt(np.mean(sound**2))
    # A recordist turns the level down before it clips.
    recorded: NDArray[np.float32] = (sound / max(1.0, np.abs(sound).max() / 0.98)).astype(np.float32)
    return recorded
