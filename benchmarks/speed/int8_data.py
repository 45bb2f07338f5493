"""Made-up rows for every task, hard enough for a figure to move."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES, SIDE, STEPS, WORDS = 6, 32, 400, 60
SPLITS = {"train": 900, "val": 600, "test": 600}
ROWS_EACH = 4
"""Of an identity."""


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


def write_waves(path: Path, task: str, seed: int = 0) -> None:
    """An .npz of `series` under noise.

    Args:
        path: The file.
        task: `multilabel`: chords, whose tones are the classes; `regression`: a tone, whose pitch is the number;
            `retrieval`: chords of one loudness for each tone, which are the identity's; validation and test
            have other identities than training.
        seed: Of all that is random.
    """
    rng = np.random.default_rng(seed)
    total = sum(SPLITS.values())
    label: NDArray[Any]
    if task == "multilabel":
        label = (rng.uniform(size=(total, CLASSES)) < 0.35).astype(np.int64)
        loudness = label * rng.uniform(0.7, 1.3, label.shape)
        series = chords(loudness, rng)
    elif task == "regression":
        label = rng.uniform(0, CLASSES - 1, total)
        series = tones(label, rng)
    else:
        label = np.arange(total) // ROWS_EACH
        series = chords(rng.gamma(1.0, 1.0, (label.max() + 1, CLASSES))[label], rng)
    np.savez(
        path, series=series[..., None], label=label, split=np.repeat(list(SPLITS), list(SPLITS.values()))
    )


def write_scenes(path: Path, side: int = SIDE, seed: int = 0) -> None:
    """An .npz of `colour` and masks: the scenes of `examples/make_scenes.py`, of so many pixels a side."""
    maker = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "make_scenes.py"))
    arrays = maker["make_scenes"](800, side, np.random.default_rng(seed))
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


def chords(loudness: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shape [rows, steps], of the loudness of each tone [rows, CLASSES]; their phases are by chance."""
    wave = 0.9 * rng.normal(size=(len(loudness), STEPS))
    for pitch, loud in enumerate(loudness.T):
        wave += loud[:, None] * tones(np.full(len(loudness), pitch), rng, noise=0.0)
    return wave.astype(np.float32)


def tones(label: NDArray[Any], rng: np.random.Generator, noise: float = 0.9) -> NDArray[np.float32]:
    """Shape [rows, steps]; the label tells the pitch."""
    rows = len(label)
    pitch = (6.0 + 3.0 * (label + rng.uniform(-0.35, 0.35, rows)))[:, None]
    time = np.arange(STEPS) / STEPS
    wave = np.sin(2 * np.pi * pitch * time + rng.uniform(0, 6, (rows, 1)))
    return (wave + noise * rng.normal(size=wave.shape)).astype(np.float32)


def sentences(label: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
    """Shape [rows]: twelve words each."""
    usual = rng.dirichlet(np.full(WORDS, 0.6), CLASSES)
    common = np.full(WORDS, 1 / WORDS)
    return np.array(
        [" ".join(f"w{w}" for w in rng.choice(WORDS, 12, p=0.55 * usual[c] + 0.45 * common)) for c in label]
    )
