"""Predicts with a student bundle and nothing but numpy and onnxruntime (Pillow for image files).

    python predict_onnx.py BUNDLE INPUT

INPUT is a .npy file (images, depth maps, series, vectors), a .wav file (audio), a picture (images), or a
.txt file (text). Prints {"label": ..., "probabilities": {...}}, or what else the task gives. Every step
follows `preprocess.json`; what is left out: resampling of recordings, FLAC, depth maps as PNG, transparency
and EXIF rotation of pictures.
`fdkd_core.load_student` does those too, and checks the bundle and the input: give this example only your own.
"""

import json
import sys
import unicodedata
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[Any]
Recipe = dict[str, Any]


def standardize(values: Array, recipe: Recipe, shape: tuple[int, ...], scale: float = 1.0) -> Array:
    """(values / scale - mean) / std per channel; a channel that was constant in training becomes 0."""
    mean, std = (np.asarray(recipe[key]).reshape(shape) for key in ("mean", "std"))
    return np.asarray(np.where(std == 0, 0.0, (values / scale - mean) / np.where(std == 0, 1.0, std)))


def prepare_image(path: Path, recipe: Recipe) -> Array:
    """Channels x height x width."""
    channels, height, width = recipe["input_shape"]
    pixels = np.load(path, allow_pickle=False) if path.suffix == ".npy" else None
    if pixels is not None and pixels.ndim == 2:
        pixels = pixels[:, :, None]
    elif pixels is not None and pixels.shape[2] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels is None or pixels.shape != (height, width, channels) or "shortest_edge" in recipe:
        from PIL import Image

        image = Image.open(path) if pixels is None else Image.fromarray(pixels.squeeze())
        image = image.convert("L" if channels == 1 else "RGB")
        whole, edge = (width, height), recipe.get("shortest_edge")
        if edge is not None:  # only students that began as an imported model have it
            whole = tuple(int(edge * side / min(image.size)) for side in image.size)
        image = image.resize(whole, Image.Resampling[recipe["resize"].upper()])
        left, top = (whole[0] - width) // 2, (whole[1] - height) // 2
        pixels = np.asarray(image.crop((left, top, left + width, top + height)))
    return standardize(pixels.reshape(height, width, channels).transpose(2, 0, 1), recipe, (-1, 1, 1), 255.0)


def prepare_depth(path: Path, recipe: Recipe) -> Array:
    """1 x height x width by nearest pixel; 0 means no measurement and stays 0."""
    plane = np.load(path, allow_pickle=False).squeeze()
    _, height, width = recipe["input_shape"]
    rows = ((np.arange(height) + 0.5) * plane.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * plane.shape[1] / width).astype(int)
    depth = plane[rows][:, columns] * recipe["scale"]
    return np.where(depth == 0, 0.0, standardize(depth, recipe, (1, 1)))[None]


def prepare_audio(path: Path, recipe: Recipe) -> Array:
    """1 x mel bands x frames: log power in triangular bands, evenly spaced on the HTK mel scale."""
    if recipe["version"] != "logmel-1":
        sys.exit(f"this example knows logmel-1 only; the student hears sounds by {recipe['version']}")
    samples = read_wav(path, recipe["rate_hz"])
    _, mels, frames = recipe["input_shape"]
    window, hop, n_fft = recipe["window"], recipe["hop"], recipe["n_fft"]
    samples = np.pad(samples, (0, max(0, window - len(samples))))
    frames_TW = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop][:frames]
    taper_W = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    power_TF = np.abs(np.fft.rfft(frames_TW * taper_W, n=n_fft)) ** 2

    first, last = 2595.0 * np.log10(1.0 + np.array([recipe["fmin_hz"], recipe["fmax_hz"]]) / 700.0)
    edges_hz = 700.0 * (10.0 ** (np.linspace(first, last, mels + 2) / 2595.0) - 1.0)
    left, center, right = (edges_hz[start : start + mels, None] for start in range(3))
    bins_hz = np.arange(n_fft // 2 + 1) * recipe["rate_hz"] / n_fft
    rising, falling = (bins_hz - left) / (center - left), (right - bins_hz) / (right - center)
    triangles_MF = np.clip(np.minimum(rising, falling), 0.0, None)

    floor = recipe["log_floor"]
    bands_MT = np.log(np.maximum(triangles_MF @ power_TF.T, floor))
    bands_MT = np.pad(bands_MT, ((0, 0), (0, frames - bands_MT.shape[1])), constant_values=np.log(floor))
    return standardize(bands_MT, recipe, (-1, 1))[None]


def read_wav(path: Path, rate_hz: int) -> Array:
    """Samples in -1..1, channels averaged."""
    with wave.open(str(path), "rb") as file:
        if file.getframerate() != rate_hz:
            sys.exit(f"the recording has {file.getframerate()} Hz; this example needs {rate_hz} Hz")
        width, channels = file.getsampwidth(), file.getnchannels()
        data = np.frombuffer(file.readframes(file.getnframes()), np.uint8).reshape(-1, width)
    if width == 1:  # unsigned, unlike the wider formats
        samples = (data[:, 0].astype(float) - 128) / 128
    else:
        # Bytes moved to the top of 32 bits: 16- and 24-bit samples are read alike.
        filled = np.concatenate([np.zeros((len(data), 4 - width), np.uint8), data], axis=1)
        samples = filled.view("<i4")[:, 0] / 2.0**31
    return np.asarray(samples.reshape(-1, channels).mean(axis=1))


def prepare_series(path: Path, recipe: Recipe) -> Array:
    """Channels x time; cut at the end, or filled up with 0, the mean."""
    series = np.load(path, allow_pickle=False)
    series = series if recipe["layout"] == "channels_time" else series.T
    steps = recipe["input_shape"][1]
    values = standardize(series[recipe["channels"], :steps], recipe, (-1, 1))
    return np.pad(np.clip(values, -recipe["clip"], recipe["clip"]), ((0, 0), (0, steps - values.shape[1])))


def prepare_vector(path: Path, recipe: Recipe) -> Array:
    """Each feature on its own scale."""
    values = standardize(np.load(path, allow_pickle=False), recipe, (-1,))
    return np.clip(values, -recipe["clip"], recipe["clip"])


def prepare_map(path: Path, recipe: Recipe) -> Array:
    """Channels x height x width, in the half precision in which training saw them."""
    values = np.load(path, allow_pickle=False).clip(-65_504, 65_504).astype(np.float16)
    return standardize(values, recipe, (-1, 1, 1))


def prepare_text(path: Path, recipe: Recipe) -> Array:
    """Token ids by byte-pair encoding, cut or padded to the input's length."""
    tokenizer = recipe["tokenizer"]
    if tokenizer["model"]["type"] != "BPE":
        raise SystemExit("The tokenizer of an imported model needs fdkd_core or the tokenizers package.")
    vocab = tokenizer["model"]["vocab"]
    ranks = {tuple(pair): rank for rank, pair in enumerate(tokenizer["model"]["merges"])}
    text = unicodedata.normalize("NFKC", path.read_text("utf-8-sig"))
    if any(step["type"] == "Lowercase" for step in tokenizer["normalizer"]["normalizers"]):
        text = text.lower()
    ids: list[int] = []
    for word in split_words(text):
        parts = list(word)
        while len(parts) > 1:  # join the pair that was learnt first, until none is left
            rank, at = min((ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(parts)))
            if rank == len(ranks):
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [vocab.get(part, recipe["unknown_id"]) for part in parts]
    length = recipe["input_shape"][0]
    ids = (ids or [recipe["unknown_id"]])[:length]
    return np.array(ids + [recipe["padding_id"]] * (length - len(ids)))


def split_words(text: str) -> list[str]:
    """At white space, and around every punctuation mark, as BERT does."""
    marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    spaced = (
        f" {character} " if character in marks or unicodedata.category(character)[0] == "P" else character
        for character in text
    )
    return "".join(spaced).split()


PREPARE = {
    "image": prepare_image,
    "depth": prepare_depth,
    "audio": prepare_audio,
    "series": prepare_series,
    "vector": prepare_vector,
    "map": prepare_map,
    "text": prepare_text,
}


def predict(bundle: Path, path: Path) -> dict[str, Any]:
    """The answer for one file."""
    recipe = json.loads((bundle / "preprocess.json").read_text("utf-8"))
    if recipe["kind"] == "text":
        recipe["tokenizer"] = json.loads((bundle / "tokenizer.json").read_text("utf-8"))
    labels = json.loads((bundle / "labels.json").read_text("utf-8"))
    inputs = PREPARE[recipe["kind"]](path, recipe)[None].astype(recipe["input_dtype"])
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"inputs": inputs})[0].astype(float)
    task = json.loads((bundle / "config.json").read_text("utf-8")).get("task", {"kind": "classification"})
    return answer(task, labels, logits)


def answer(task: dict[str, Any], labels: list[str], logits: Array) -> dict[str, Any]:
    """What the outputs of the network mean, by the task that it was trained for."""
    if task["kind"] == "regression":  # the numbers themselves, in the unit of the training data
        return {"values": dict(zip(labels, logits.tolist(), strict=True))}
    if task["kind"] == "retrieval":  # of norm 1: the scalar product of two embeddings is their cosine
        return {"embedding": (logits / (np.linalg.norm(logits) or 1.0)).tolist()}
    if task["kind"] == "segmentation":  # a class of each pixel, at the size of the network's input
        mask = logits.argmax(axis=0)
        shares = np.bincount(mask.reshape(-1), minlength=len(labels)) / mask.size
        return {"mask": mask.tolist(), "shares": dict(zip(labels, shares.tolist(), strict=True))}
    if task["kind"] == "multilabel":  # each class for itself
        probabilities = np.exp(-np.logaddexp(0.0, -logits))
        applies = probabilities >= task["threshold"]
        found: dict[str, Any] = {"labels": [name for name, yes in zip(labels, applies, strict=True) if yes]}
    else:
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        found = {"label": labels[int(probabilities.argmax())]}
    return {**found, "probabilities": dict(zip(labels, probabilities.tolist(), strict=True))}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(json.dumps(predict(Path(sys.argv[1]), Path(sys.argv[2]))))
