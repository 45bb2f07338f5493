from __future__ import annotations

import csv
import io
import shutil
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # scripts there import their neighbours, as `python examples/...` lets them

import make_digits  # noqa: E402
import spoken_digits  # noqa: E402

from fdkd_core.data.dataset import load_dataset  # noqa: E402
from fdkd_core.modalities.log_mel import log_mel  # noqa: E402
from fdkd_core.spec import DistillSpec, parse_spec  # noqa: E402

PAIRS = 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "made"
    assert make_digits.main([str(path), "--pairs", str(PAIRS), "--seed", "7"]) == 0
    return path


def manifest(folder):
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_wav(content):
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def by_split(rows, value):
    return {
        split: {value(row) for row in rows if row["split"] == split} for split in ("train", "val", "test")
    }


def are_disjoint(sets):
    return sum(map(len, sets.values())) == len(set().union(*sets.values()))


def test_same_seed_gives_the_same_bytes(folder, tmp_path):
    make_digits.main([str(tmp_path), "--pairs", str(PAIRS), "--seed", "7"])
    assert contents(tmp_path) == contents(folder)


def test_another_seed_gives_other_voices_words_and_pairs():
    def word(seed):
        rng = np.random.default_rng(seed)
        return spoken_digits.speak(3, spoken_digits.sample_voice(rng), rng).tobytes()

    assert word(0) == word(0) != word(1)
    labels = load_digits().target
    first, second = (make_digits.plan(labels, make_digits.Recipe(PAIRS, seed)) for seed in (0, 1))
    assert [pair.source for pair in first] != [pair.source for pair in second]


@pytest.mark.parametrize(
    ("pairs", "sizes"), [(1500, [900, 200, 400]), (150, [90, 20, 40]), (1797, [1078, 239, 480])]
)
def test_splits_have_their_sizes_and_all_digits_alike(pairs, sizes):
    rows = make_digits.plan(load_digits().target, make_digits.Recipe(pairs, 0))
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        counts = np.bincount([row.label for row in rows if row.split == split], minlength=10)
        assert counts.sum() == size
        # The rarest digit has 174 images, so that the last few dozen of all 1797 cannot be balanced.
        assert counts.max() - counts.min() <= (1 if pairs <= 1740 else 10)
    assert len({row.source for row in rows}) == len({row.id for row in rows}) == pairs


def test_no_voice_and_no_image_is_in_two_splits(folder):
    rows = manifest(folder)
    assert len(rows) == PAIRS
    assert are_disjoint(by_split(rows, lambda row: row["group"]))
    images = by_split(rows, lambda row: (folder / row["image"]).read_bytes())
    assert are_disjoint(images)
    assert sum(map(len, images.values())) == PAIRS, "each image is used once"


def test_images_are_the_real_ones_of_their_label(folder):
    digits = load_digits()
    known = {
        np.round(image).astype(int).tobytes(): label
        for image, label in zip(digits.images, digits.target, strict=True)
    }
    for row in manifest(folder):
        pixels = np.asarray(Image.open(folder / row["image"]))
        assert (pixels.shape, pixels.dtype) == ((16, 16), np.uint8)
        measured = np.round(pixels[::2, ::2] * (16 / 255)).astype(int)
        assert (measured.repeat(2, 0).repeat(2, 1) == np.round(pixels * (16 / 255))).all()
        assert known[measured.tobytes()] == int(row["label"])


def test_recordings_have_sane_lengths_and_levels(folder):
    levels_db = []
    for row in manifest(folder):
        samples = read_wav((folder / row["audio"]).read_bytes())
        assert 0.25 < len(samples) / 8000 < 1.5
        assert np.abs(samples).max() < 32767, "clipped"
        assert abs(samples.mean()) < 0.05 * samples.std(), "constant offset"
        levels_db.append(20 * np.log10(samples.std() / 32767))
    assert -40 < min(levels_db) < max(levels_db) < -10
    assert max(levels_db) - min(levels_db) > 6, "recordings differ in level"


def test_voices_differ_as_men_women_and_children_do():
    voices = [spoken_digits.sample_voice(np.random.default_rng(seed)) for seed in range(200)]
    pitch_hz = {
        kind: np.mean([v.pitch_hz for v in voices if v.kind == kind]) for kind in ("man", "woman", "child")
    }
    assert 115 < pitch_hz["man"] < 150 < 200 < pitch_hz["woman"] < pitch_hz["child"] < 300


def clean_pattern(digit, voice, rng):
    """Log-mel of a recording, stretched to the same 24 frames whatever its length, without its level."""
    samples = spoken_digits.speak(digit, voice, rng)
    bands = {"n_fft": 512, "n_mels": 24, "fmin_hz": 50.0, "fmax_hz": 4000.0}
    mel_MT = log_mel(samples, rate_hz=8000, window=256, hop=80, log_floor=1e-6, **bands)
    mel_MT = mel_MT[:, np.linspace(0, mel_MT.shape[1] - 1, 24).astype(int)]
    return (mel_MT - mel_MT.mean(axis=1, keepdims=True)).ravel()


def test_digits_of_one_voice_are_told_apart_by_their_spectra():
    rng = np.random.default_rng(5)
    voice = spoken_digits.sample_voice(rng)
    centroids = np.array(
        [np.mean([clean_pattern(d, voice, rng) for _ in range(8)], axis=0) for d in range(10)]
    )
    right = 0
    for digit in range(10):
        for _ in range(5):
            pattern = clean_pattern(digit, voice, rng)
            right += np.argmin(((centroids - pattern) ** 2).sum(axis=1)) == digit
    assert right / 50 > 0.6, "chance is 0.1"


def test_a_finished_folder_is_left_alone_and_a_damaged_one_is_repaired(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    arguments = [str(tmp_path), "--pairs", str(PAIRS), "--seed", "7"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert make_digits.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    output = capsys.readouterr().out.splitlines()
    assert len(output) == 1
    assert "Real: the images" in output[0]
    assert "Synthesised: the speech" in output[0]

    (tmp_path / "audio" / "0005.wav").unlink()
    make_digits.main(arguments)
    assert contents(tmp_path) == contents(folder)


def test_a_folder_made_otherwise_is_refused_untouched(folder, capsys):
    before = contents(folder)
    with pytest.raises(SystemExit) as stopped:
        make_digits.main([str(folder), "--pairs", str(PAIRS), "--seed", "8"])
    assert stopped.value.code == 2
    assert "name another folder" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize("arguments", [["--pairs", "149"], ["--pairs", "1798"], ["--seed", "-1"]])
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, arguments):
    with pytest.raises(SystemExit) as stopped:
        make_digits.main([str(tmp_path / "new"), *arguments])
    assert stopped.value.code == 2
    assert not (tmp_path / "new").exists()


def test_the_job_fits_the_data(folder):
    spec = parse_spec((EXAMPLES / "digits.yaml").read_bytes())
    assert isinstance(spec, DistillSpec)
    data = load_dataset(folder, [spec.teacher.modality, spec.student.modality], workers=0)
    assert data.classes == list(spoken_digits.WORDS)
    assert data.modalities["image"].recipe["input_shape"] == [1, 16, 16]
    assert data.modalities["audio"].recipe["input_shape"][:2] == [1, 32]
