"""What a WAV or FLAC says about itself, checked in Python before libsndfile sees the bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from fdkd_core.errors import quote
from fdkd_core.modalities.base import RowError

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
"""Below 4 kHz nothing of speech is left; above 192 kHz no audio hardware records."""
MAX_CHANNELS = 8
"""7.1 surround; libsndfile would accept a thousand."""
_MAX_CHUNKS = 1024
"""RIFF chunks walked before the samples; real files have a few."""
_OTHERS = {
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"FORM": "AIFF",
    b"RF64": "RF64",
    b".snd": "AU",
    b"\x1aE\xdf\xa3": "Matroska",
}
"""What people have instead, by its first bytes."""
_WAV_ENCODINGS = {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)}
"""(format tag, bits): PCM and IEEE float. Compressed WAV, such as IMA ADPCM, reaches rarely used
decoders that have had memory errors, and is refused."""
_EXTENSIBLE = 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
"""End of the sub-format id of an extensible WAV, after its two bytes of format tag."""


@dataclass(frozen=True)
class SoundHeader:
    """The claims of an audio file, found consistent with its bytes where they can be compared."""

    format: Literal["WAV", "FLAC"]
    rate_hz: int
    channels: int
    frames: int
    """Samples per channel."""

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.frames / self.rate_hz


def read_sound_header(raw: bytes) -> SoundHeader:
    """Reads and checks the header of a PCM or float WAV, or of a FLAC.

    Raises:
        RowError: `unsupported_format` for other formats and encodings, `truncated` where the header
            claims more bytes than there are, `invalid_audio` for impossible rates, channels, lengths.
    """
    if raw[:4] == b"RIFF" and raw[8:12] == b"WAVE":
        header = _read_wav(raw)
    elif raw[:4] == b"fLaC":
        header = _read_flac(raw)
    else:
        raise RowError("unsupported_format", f"expected a WAV or FLAC file, found {_format_name(raw)}")
    if not MIN_RATE_HZ <= header.rate_hz <= MAX_RATE_HZ:
        raise RowError(
            "invalid_audio",
            f"found a rate of {header.rate_hz} Hz; {MIN_RATE_HZ} to {MAX_RATE_HZ} are allowed",
        )
    if not 1 <= header.channels <= MAX_CHANNELS:
        raise RowError("invalid_audio", f"found {header.channels} channels; 1 to {MAX_CHANNELS} are allowed")
    if header.frames == 0:
        raise RowError("invalid_audio", "the recording has no samples, or does not say how many")
    return header


def check_length(header: SoundHeader, max_seconds: float) -> None:
    """Raises RowError `audio_too_long` above `max_seconds`."""
    if header.seconds > max_seconds:
        raise RowError(
            "audio_too_long",
            f"the recording claims {header.seconds:.1f} s; at most {max_seconds:g} s are allowed "
            "(option max_seconds)",
        )


def _read_wav(raw: bytes) -> SoundHeader:
    encoding: bytes | None = None
    offset = 12
    for _ in range(_MAX_CHUNKS):
        if offset + 8 > len(raw):
            raise RowError("truncated", "the WAV ends before its samples")
        name, size = raw[offset : offset + 4], int.from_bytes(raw[offset + 4 : offset + 8], "little")
        held = len(raw) - offset - 8
        if size > held:
            raise RowError(
                "truncated",
                f"the WAV claims {size} bytes in its {quote(name.decode('latin-1'))} chunk, "
                f"but {held} bytes follow",
            )
        if name == b"fmt ":
            encoding = raw[offset + 8 : offset + 8 + size]
        elif name == b"data":
            if encoding is None:
                raise RowError("invalid_audio", "the WAV has samples before it says how they are encoded")
            channels, rate_hz, frame_bytes = _parse_wav_encoding(encoding)
            return SoundHeader("WAV", rate_hz, channels, size // frame_bytes)
        offset += 8 + size + size % 2
    raise RowError("invalid_audio", f"the WAV has more than {_MAX_CHUNKS} chunks before its samples")


def _parse_wav_encoding(encoding: bytes) -> tuple[int, int, int]:
    """Channels, rate and bytes per frame of a `fmt ` chunk."""
    if len(encoding) < 16:
        raise RowError("invalid_audio", "the fmt chunk of the WAV is too short")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", encoding)
    if tag == _EXTENSIBLE and len(encoding) >= 40 and encoding[26:40] == _GUID_TAIL:
        tag = int.from_bytes(encoding[24:26], "little")
    if (tag, bits) not in _WAV_ENCODINGS:
        raise RowError(
            "unsupported_format",
            f"found a WAV of format tag {tag:#06x} with {bits} bits; PCM of 8, 16, 24 or 32 bits and "
            "float of 32 or 64 bits are allowed",
        )
    if frame_bytes != channels * bits // 8 or frame_bytes == 0:
        raise RowError(
            "invalid_audio", f"the WAV claims {channels} channels of {bits} bits in {frame_bytes} bytes"
        )
    return channels, rate_hz, frame_bytes


def _format_name(raw: bytes) -> str:
    """What a file is instead, or how it begins."""
    if raw[4:8] == b"ftyp":
        return "MPEG-4 (M4A, AAC)"
    if raw[:1] == b"\xff" and len(raw) > 1:  # the sync word of MPEG audio, then its layer: 3, or none of AAC
        if raw[1] & 0xE6 == 0xE2:
            return "MP3"
        if raw[1] & 0xF6 == 0xF0:
            return "AAC"
    names = (name for head, name in _OTHERS.items() if raw.startswith(head))
    return next(names, quote(raw[:12]))


def _read_flac(raw: bytes) -> SoundHeader:
    if len(raw) < 42:
        raise RowError("truncated", "the FLAC ends inside its header")
    if raw[4] & 0x7F != 0 or int.from_bytes(raw[5:8], "big") != 34:
        raise RowError("invalid_audio", "the FLAC does not begin with its STREAMINFO block")
    # 20 bits rate, 3 bits channels - 1, 5 bits bits per sample - 1, 36 bits samples.
    packed = int.from_bytes(raw[18:26], "big")
    return SoundHeader(
        "FLAC",
        rate_hz=packed >> 44,
        channels=(packed >> 41 & 0x7) + 1,
        frames=packed & (1 << 36) - 1,
    )
