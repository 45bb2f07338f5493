"""Makes a paired data set for segmentation: colour and depth of the same small scenes, and their masks.

    python examples/make_scenes.py OUT_DIR [--scenes 400] [--side 48] [--seed 0]

All of it is synthetic. A scene has one to three things before a sloping wall: balls, which bulge, and boxes,
which are flat. In colour the two differ by hue under noise; in depth by their form alone, under noise and
with pixels missing, as a depth camera has them. The border of a thing is one pixel without a label (255).
OUT_DIR gets manifest.csv, dataset.yaml, and PNG files in `colour`, `depth` (16 bits, millimetres), `masks`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("wall", "ball", "box")
VOID = 255
SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
HUES = np.array([[110, 110, 110], [150, 105, 90], [90, 105, 150]])
"""Mean colour of each class."""
COLOUR_NOISE, DEPTH_NOISE_MM = 30.0, 60.0
MISSING = 0.05
"""Share of depth pixels without a measurement."""

Arrays = dict[str, NDArray[np.generic]]


def make_scenes(count: int, side: int, rng: np.random.Generator) -> Arrays:
    """`colour` uint8 [count, side, side, 3], `depth` uint16 [count, side, side], `mask` uint8 of the same."""
    found = [_scene(side, rng) for _ in range(count)]
    names = ("colour", "depth", "mask")
    return {name: np.stack(parts) for name, parts in zip(names, zip(*found, strict=True), strict=True)}


def splits_of(count: int) -> list[str]:
    """The split of each scene, by `SHARES`."""
    train, val = (round(SHARES[split] * count) for split in ("train", "val"))
    return ["train"] * train + ["val"] * val + ["test"] * (count - train - val)


def _scene(side: int, rng: np.random.Generator) -> tuple[NDArray[np.generic], ...]:
    y, x = np.mgrid[:side, :side] / side
    slope = rng.uniform(-400, 400, 2)
    depth = 3000 + slope[0] * y + slope[1] * x
    mask = np.zeros((side, side), np.uint8)
    for _ in range(rng.integers(1, 4)):
        kind = int(rng.integers(1, 3))
        centre, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.12, 0.25)
        dy, dx = y - centre[0], x - centre[1]
        if kind == 1:
            distance, relief = np.hypot(dy, dx), np.sqrt(np.clip(radius**2 - dy**2 - dx**2, 0, None))
        else:
            distance, relief = np.maximum(np.abs(dy), np.abs(dx)), np.full_like(y, radius / 2)
        is_inside = distance < radius
        depth = np.where(is_inside, rng.uniform(1800, 2200) - 2500 * relief, depth)
        mask[is_inside] = kind
        mask[np.abs(distance - radius) < 0.7 / side] = VOID
    shade = rng.uniform(0.8, 1.2)
    colour = shade * HUES[np.where(mask == VOID, 0, mask)] + rng.normal(0, COLOUR_NOISE, (side, side, 3))
    depth = depth + rng.normal(0, DEPTH_NOISE_MM, depth.shape)
    depth[rng.random(depth.shape) < MISSING] = 0
    return colour.clip(0, 255).astype(np.uint8), depth.clip(0, 65_535).astype(np.uint16), mask


def write_folder(folder: Path, arrays: Arrays, splits: Sequence[str]) -> None:
    """Writes scenes as files with a manifest."""
    for name in ("colour", "depth", "masks"):
        (folder / name).mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split", "label", "colour", "depth"])
        for number, split in enumerate(splits):
            paths = {name: f"{name}/{number:05d}.png" for name in ("colour", "depth", "masks")}
            Image.fromarray(arrays["colour"][number]).save(folder / paths["colour"])
            Image.fromarray(arrays["depth"][number]).save(folder / paths["depth"])
            Image.fromarray(arrays["mask"][number]).save(folder / paths["masks"])
            writer.writerow([f"scene{number:05d}", split, paths["masks"], paths["colour"], paths["depth"]])
    description = {
        "labels": {"form": "mask"},
        "class_names": list(CLASSES),
        "modalities": {"colour": {"kind": "image"}, "depth": {"kind": "depth", "scale": 0.001}},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description))


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the folder; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.scenes < 20 or not 16 <= options.side <= 512:
        parser.error("at least 20 scenes of 16 to 512 pixels are needed")
    if options.folder.exists():
        parser.error(f"{options.folder} is there already")
    arrays = make_scenes(options.scenes, options.side, np.random.default_rng(options.seed))
    write_folder(options.folder, arrays, splits_of(options.scenes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
