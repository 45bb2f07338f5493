"""Small image, audio and array files, honest and hostile."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import soundfile
from PIL import Image


def png(pixels: np.ndarray) -> bytes:
    return _image(pixels, "PNG")


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    return _image(pixels, "JPEG", **options)


def _image(pixels: np.ndarray, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_header(width: int, height: int, bit_depth: int = 1, color: int = 0) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, color, 0, 0, 0))


def huge_png(side: int) -> bytes:
    """A valid 1-bit PNG of side x side black pixels: tens of kilobytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    pixels = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + png_header(side, side) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    )


def animated_png() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 128, 255)]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def gif() -> bytes:
    return _image(np.zeros((8, 8), np.uint8), "GIF")


def sound(samples: np.ndarray, rate_hz: int = 8000, container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


def tone(seconds: float, rate_hz: int = 8000, frequency_hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate_hz)) / rate_hz)


def wav_header(
    *,
    claimed_bytes: int,
    rate_hz: int = 8000,
    channels: int = 1,
    tag: int = 1,
    bits: int = 16,
    content: bytes = bytes(100),
) -> bytes:
    """A WAV whose header says what it is told to."""
    frame_bytes = channels * bits // 8
    encoding = struct.pack("<HHIIHH", tag, channels, rate_hz, 0, frame_bytes % 65536, bits)
    chunks = b"WAVEfmt " + struct.pack("<I", len(encoding)) + encoding
    chunks += b"data" + struct.pack("<I", claimed_bytes) + content
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def flac_claiming(num_samples: int) -> bytes:
    """A FLAC of 100 samples whose header claims another number."""
    content = bytearray(sound(tone(100 / 8000), container="FLAC"))
    packed = int.from_bytes(content[18:26], "big")
    content[18:26] = (packed >> 36 << 36 | num_samples).to_bytes(8, "big")
    return bytes(content)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_claiming(shape: str, descr: str = "'<f8'", content: bytes = bytes(64)) -> bytes:
    """A .npy whose header says what it is told to."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content
