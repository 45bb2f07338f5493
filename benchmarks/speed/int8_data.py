"""Made-up rows of four kinds that show the same class, hard enough for a figure to move."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES, SIDE, STEPS, WORDS = 6, 32, 400, 60
SPLITS = {"train": 900, "val": 600, "test": 600}


def write_rows(path: Path, seed: int = 0) -> None:
    """An .npz with `image`, `series`, `text` and `vector`.

    Pictures are gratings whose direction is the class, series are tones whose pitch is, sentences have words
    that a class uses more often, vectors lie around centres; all under noise.
    """
    rng = np.random.default_rng(seed)
    total = sum(SPLITS.values())
    label = rng.integers(0, CLASSES, total)
    pictures = gratings(label, rng)
    np.savez(
        path,
        image=np.clip(128 + 40 * pictures, 0, 255).astype(np.uint8)[..., None],
        series=tones(label, rng)[..., None],
        text=sentences(label, rng),
        vector=(rng.normal(size=(CLASSES, 24))[label] + 1.6 * rng.normal(size=(total, 24))).astype(
            np.float32
        ),
        label=label,
        split=np.repeat(list(SPLITS), list(SPLITS.values())),
    )


def write_scenes(path: Path, seed: int = 0) -> None:
    """An .npz of `colour` and masks: the small scenes of `examples/make_scenes.py`."""
    maker = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "make_scenes.py"))
    arrays = maker["make_scenes"](800, SIDE, np.random.default_rng(seed))
    split = np.array(maker["splits_of"](800))
    np.savez(path, colour=arrays["colour"], label=arrays["mask"], split=split)


def gratings(label: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Shape [rows, side, side]."""
    rows = len(label)
    angle = np.pi * (label + rng.uniform(-0.35, 0.35, rows)) / CLASSES
    down, across = np.mgrid[:SIDE, :SIDE] / SIDE
    along = (np.cos(angle)[:, None, None] * across + np.sin(angle)[:, None, None] * down) * rng.uniform(
        3, 6, (rows, 1, 1)
    )
    wave: NDArray[np.float64] = np.sin(2 * np.pi * along + rng.uniform(0, 6, (rows, 1, 1)))
    return wave + 0.8 * rng.normal(size=wave.shape)


def tones(label: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shape [rows, steps]."""
    rows = len(label)
    pitch = (6.0 + 3.0 * (label + rng.uniform(-0.35, 0.35, rows)))[:, None]
    time = np.arange(STEPS) / STEPS
    wave = np.sin(2 * np.pi * pitch * time + rng.uniform(0, 6, (rows, 1)))
    return (wave + 0.9 * rng.normal(size=wave.shape)).astype(np.float32)


def sentences(label: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
    """Shape [rows]: twelve words each."""
    usual = rng.dirichlet(np.full(WORDS, 0.6), CLASSES)
    common = np.full(WORDS, 1 / WORDS)
    return np.array(
        [" ".join(f"w{w}" for w in rng.choice(WORDS, 12, p=0.55 * usual[c] + 0.45 * common)) for c in label]
    )
