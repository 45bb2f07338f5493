"""Makes a paired data set: real images of handwritten digits, each with a digit spoken by a synthesiser.

    python examples/make_digits.py OUT_DIR [--pairs 1500] [--seed 0]

What is real and what is not: the images are scikit-learn's copy of the test set of UCI's "Optical Recognition
of Handwritten Digits" (1797 images, 13 writers, 8 x 8 pixels of 17 levels). The recordings are made by
`spoken_digits.py`. Nobody spoke while writing: a pair shares its class and nothing else. Each image is used
once, and each recording is of its own; no voice speaks in two splits. Who wrote an image is not known, so
that writers may well occur in several splits.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import wave
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from spoken_digits import RATE_HZ, WORDS, Voice, sample_voice, speak

from fdkd_core.atomic_files import write_atomic, write_json_atomic

VERSION = 1
"""Of what the same arguments make."""
MARKER = "made_with.json"
"""Written last: a folder that has it is complete."""
SHARES = {"train": 9, "val": 2, "test": 4}
PAIRS_PER_VOICE = 20
"""Two of each digit: with 1500 pairs 45 voices to learn from, 10 to validate on and 20 to test on."""
ZOOM = 2
"""16 x 16 pixels. A network of three poolings would be left with a single pixel of 8 x 8, and the smallest
shift of an augmentation would be an eighth of the picture. Pixels are repeated, not interpolated, so that the
file still says exactly what was measured."""
MIN_PAIRS, MAX_PAIRS = 150, 1797
DESCRIPTION = {
    "modalities": {
        "image": {"kind": "image"},
        # Half the frames and fewer bands than by default: 0.4 of the work, so that the whole job is a matter
        # of a minute on two cores. Words differ by what happens over 100 ms and more.
        "audio": {"kind": "audio", "mels": 32, "window_ms": 32, "hop_ms": 20},
    },
    "class_names": list(WORDS),
    "group": "group",
}
"""`dataset.yaml`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of the manifest, before its files are made."""

    id: str
    split: str
    label: int
    group: str
    """The voice."""
    source: int
    """Which image of scikit-learn's."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that the content of the folder depends on."""

    pairs: int
    seed: int
    version: int = VERSION


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Real images of digits paired with synthesised spoken ones.")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--pairs", type=int, default=1500, help=f"{MIN_PAIRS} to {MAX_PAIRS}; default 1500")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn at random; default 0")
    given = parser.parse_args(arguments)
    if not MIN_PAIRS <= given.pairs <= MAX_PAIRS:
        parser.error(f"--pairs is {given.pairs}; {MIN_PAIRS} to {MAX_PAIRS} are allowed")
    if given.seed < 0:
        parser.error(f"--seed is {given.seed}; 0 or more is wanted")
    recipe = Recipe(given.pairs, given.seed)
    out_dir: Path = given.out_dir
    if (out_dir / MARKER).exists() and not _is_marked(out_dir, recipe):
        parser.error(f"{out_dir} holds digits made in another way (see {MARKER}); name another folder")
    is_there = is_complete(out_dir, recipe)
    if not is_there:
        make(out_dir, recipe)
    print(
        f"{out_dir}: {recipe.pairs} pairs {'are there already' if is_there else 'made'}. Real: the images, "
        "handwritten digits from scikit-learn. Synthesised: the speech. Paired by class only."
    )
    return 0


def is_complete(folder: Path, recipe: Recipe) -> bool:
    """Whether the folder was made to the end with this recipe, and still has all its files."""
    manifest = folder / "manifest.csv"
    if not (_is_marked(folder, recipe) and manifest.is_file()):
        return False
    with manifest.open(newline="") as file:
        return all(
            (folder / row[kind]).is_file() for row in csv.DictReader(file) for kind in ("image", "audio")
        )


def make(folder: Path, recipe: Recipe) -> None:
    """Writes the data set; one that was left half made is written over."""
    (folder / MARKER).unlink(missing_ok=True)
    for kind in ("image", "audio"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    digits: Any = load_digits()
    pairs = plan(digits.target, recipe)
    voices: dict[str, Voice] = {}
    for number, pair in enumerate(pairs):
        if pair.group not in voices:
            voices[pair.group] = sample_voice(_generator(recipe, 1, len(voices)))
        # A generator of its own for each recording: one more draw in one word leaves all others as they are.
        samples = speak(pair.label, voices[pair.group], _generator(recipe, 2, number))
        (folder / "image" / f"{pair.id}.png").write_bytes(png(digits.images[pair.source]))
        (folder / "audio" / f"{pair.id}.wav").write_bytes(wav(samples))
    write_atomic(folder / "dataset.yaml", yaml.safe_dump(DESCRIPTION, sort_keys=False).encode())
    write_atomic(folder / "manifest.csv", "".join(_manifest_lines(pairs)).encode())
    write_json_atomic(folder / MARKER, asdict(recipe))


def plan(labels: NDArray[np.int64], recipe: Recipe) -> list[Pair]:
    """Which image goes with which voice in which split.

    Images are shuffled within their class and then dealt class by class, so that every stretch of the list,
    and with it every split and every voice, has the ten digits equally often, give or take one.

    Args:
        labels: Shape [images], the digit of each.
        recipe: Number of pairs and seed.
    """
    rng = _generator(recipe, 0, 0)
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    for digit in range(10):
        of_digit = shuffled[labels[shuffled] == digit]
        rank[of_digit] = np.arange(len(of_digit))
    dealt = np.lexsort((labels, rank))[: recipe.pairs]
    bounds = np.cumsum([0, *SHARES.values()]) * recipe.pairs // sum(SHARES.values())
    pairs: list[Pair] = []
    num_voices = 0
    for split, start, end in zip(SHARES, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        for position, source in enumerate(dealt[start:end].tolist()):
            voice = num_voices + position // PAIRS_PER_VOICE
            pairs.append(Pair(f"{len(pairs):04d}", split, int(labels[source]), f"voice-{voice:02d}", source))
        num_voices += -(-(end - start) // PAIRS_PER_VOICE)
    return pairs


def png(pixels: NDArray[np.float64]) -> bytes:
    """An 8 x 8 image of levels 0 to 16 as an 8-bit grayscale PNG, bright ink on black."""
    levels = np.round(pixels * (255 / 16)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()


def wav(samples: NDArray[np.float32]) -> bytes:
    """Samples of full scale 1 as a 16-bit mono WAV at `RATE_HZ`."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _manifest_lines(pairs: Sequence[Pair]) -> Iterator[str]:
    yield "id,split,label,group,image,audio\n"
    for pair in pairs:
        yield f"{pair.id},{pair.split},{pair.label},{pair.group},image/{pair.id}.png,audio/{pair.id}.wav\n"


def _generator(recipe: Recipe, stream: int, number: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((recipe.seed, stream, number)))


def _is_marked(folder: Path, recipe: Recipe) -> bool:
    try:
        return bool(json.loads((folder / MARKER).read_text()) == asdict(recipe))
    except (FileNotFoundError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(main())
