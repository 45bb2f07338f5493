"""The same recordings divided anew: other subjects, speakers or videos are trained on, chosen by and tested on.

A table of one split says how methods do on its few test subjects, after a tuning that its fewer validation
subjects decided. What holds over several splits, each with a teacher and a tuning of its own, is about the method.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


def resplit_arrays(whole: Path, number: int, target: Path) -> None:
    """An .npz of the same rows whose groups (`subject` or `video_id`) are divided by chance.

    Each split has as many groups as it had, so that rows differ in number as groups do.
    """
    with np.load(whole) as found:
        arrays = dict(found)
    group = arrays["subject" if "subject" in arrays else "video_id"]
    new = _divide(group, arrays["split"], number)
    arrays["split"] = np.array([new[str(name)] for name in group])
    draft = target.with_suffix(".draft.npz")
    np.savez(draft, **arrays)
    draft.rename(target)


def resplit_digits(whole: Path, manifest: str, number: int, target: Path) -> None:
    """A zip whose speakers are divided by chance, with sounds and pictures paired as they were before.

    The pictures of a split stay where they are, each used once. Every speaker has equally many sounds of a digit,
    and a sound is paired with as many pictures of its digit as its new split paired one with.
    """
    with zipfile.ZipFile(whole) as source:
        rows = list(csv.DictReader(io.TextIOWrapper(source.open(manifest), encoding="utf-8")))
        speaker = np.array([_speaker(row["audio"]) for row in rows])
        new = _divide(speaker, np.array([row["split"] for row in rows]), number)
        sounds: dict[tuple[str, str], list[str]] = defaultdict(list)
        for sound, label in sorted({(row["audio"], row["label"]) for row in rows}):
            sounds[new[_speaker(sound)], label].append(sound)
        rng = np.random.default_rng(number)
        places: dict[tuple[str, str], int] = defaultdict(int)
        shuffled = {key: [names[i] for i in rng.permutation(len(names))] for key, names in sounds.items()}
        for row in rows:
            key = row["split"], row["label"]
            row["audio"] = shuffled[key][places[key] % len(shuffled[key])]
            places[key] += 1
        write_rows(target, manifest, rows, source)


def write_rows(target: Path, manifest: str, rows: list[dict[str, str]], source: zipfile.ZipFile) -> None:
    """A zip of a manifest of these rows, at least one, and the files that they name."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    draft = target.with_suffix(".draft")
    with zipfile.ZipFile(draft, "w") as copy:
        copy.writestr(manifest, text.getvalue())
        for name in sorted({row[column] for row in rows for column in ("image", "audio")}):
            copy.writestr(name, source.read(name))
    draft.rename(target)


def _divide(groups: NDArray[np.str_], splits: NDArray[np.str_], number: int) -> dict[str, str]:
    """The new split of each group."""
    names = sorted({str(name) for name in groups})
    counts = [len(set(groups[splits == split])) for split in SPLITS]
    order: Sequence[int] = np.random.default_rng([number, len(names)]).permutation(len(names)).tolist()
    divided = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    return {names[place]: split for place, split in zip(order, divided, strict=True)}


def _speaker(sound: str) -> str:
    return Path(sound).stem.split("_")[1]
