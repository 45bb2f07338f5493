"""From a feature extractor of sounds to a recipe of ours that gives the same numbers, or a refusal.

Sources: ASTFeatureExtractor and Wav2Vec2FeatureExtractor of transformers 5.23.
"""

from __future__ import annotations

from typing import Any

from fdkd_core.errors import ModelFileError, Problem, quote
from fdkd_core.hugging_face.files import PROCESSOR
from fdkd_core.modalities.base import Recipe
from fdkd_core.modalities.filter_bank import RATE_HZ
from fdkd_core.modalities.sound_extractors import filter_bank_recipe, waveform_recipe
from fdkd_core.spec.hugging_face.architectures import ASTSpec, Wav2Vec2Spec
from fdkd_core.spec.input_axes import MAX_STEPS

_AST_MEAN, _AST_STD = -4.2677393, 4.5689974
"""What the package takes where a file says nothing: those of AudioSet."""
_MAX_FRAMES, _MAX_MELS = 8192, 256


def states_length(document: Any, spec: ASTSpec | Wav2Vec2Spec) -> bool:
    """Whether inputs have a length: AST's have one by default, wav2vec 2.0's where the file says so."""
    return isinstance(document, dict) and (isinstance(spec, ASTSpec) or "max_length" in document)


def sound_recipe(document: Any, spec: ASTSpec | Wav2Vec2Spec) -> Recipe:
    """The recipe of a parsed preprocessor_config.json.

    Args:
        document: The JSON.
        spec: The network that it belongs to.

    Raises:
        ModelFileError: `unsupported_preprocessing`, with what cannot be done alike.
    """
    if not isinstance(document, dict):
        raise _refusal("is not a JSON object")
    wanted = "ASTFeatureExtractor" if isinstance(spec, ASTSpec) else "Wav2Vec2FeatureExtractor"
    found = document.get("feature_extractor_type")
    if found != wanted:
        raise _refusal(f"found {quote(found)}; {spec.name} comes with {wanted}", "/feature_extractor_type")
    if document.get("feature_size", 1) != 1:
        raise _refusal("sounds of several channels are not done here", "/feature_size")
    return _filter_bank(document) if isinstance(spec, ASTSpec) else _waveform(document, spec)


def _filter_bank(document: dict[str, Any]) -> Recipe:
    rate_hz = _whole(document, "sampling_rate", RATE_HZ, 1, 1 << 20)
    if rate_hz != RATE_HZ:
        # The package itself has two answers there, with torchaudio and without.
        raise _refusal(f"found {rate_hz} Hz; the filter bank is defined for {RATE_HZ}", "/sampling_rate")
    mels = _whole(document, "num_mel_bins", 128, 8, _MAX_MELS)
    frames = _whole(document, "max_length", 1024, 8, _MAX_FRAMES)
    mean, std = 0.0, 0.5
    if document.get("do_normalize", True):
        mean, std = (
            _number(document, name, usual) for name, usual in (("mean", _AST_MEAN), ("std", _AST_STD))
        )
        if std <= 0:
            raise _refusal("deviations are positive", "/std")
    note = f"from {PROCESSOR}: {mels} bands of {RATE_HZ} Hz, the first {frames * 10} ms; mean, deviation"
    return filter_bank_recipe(mels, frames, mean, std, [note])


def _waveform(document: dict[str, Any], spec: Wav2Vec2Spec) -> Recipe:
    rate_hz = _whole(document, "sampling_rate", 16_000, 1_000, 48_000)
    if "max_length" not in document:
        detail = (
            f"is missing: inputs have one length here. Add it in samples, {rate_hz} for a second; recordings "
            "are cut to it, or filled up with zeros"
        )
        raise _refusal(detail, "/max_length")
    samples = _whole(document, "max_length", 0, 1, MAX_STEPS)
    if document.get("padding_value", 0.0) != 0:
        raise _refusal("padding other than zeros is not done here", "/padding_value")
    if document.get("padding_side", "right") != "right":
        raise _refusal("padding goes to the end here", "/padding_side")
    # Of networks with a group norm the package says that they want no mask, whatever the file says.
    if document.get("return_attention_mask", False) and spec.feat_extract_norm == "layer":
        detail = "this network expects padding to be hidden from it, which is not done here"
        raise _refusal(detail, "/return_attention_mask")
    normalise = bool(document.get("do_normalize", True))
    note = f"from {PROCESSOR}: the first {samples} samples of {rate_hz} Hz"
    note += ", each recording to mean 0 and variance 1" if normalise else ""
    return waveform_recipe(rate_hz, samples, normalise=normalise, notes=[note])


def _whole(document: dict[str, Any], name: str, usual: int, least: int, most: int) -> int:
    found = document.get(name, usual)
    if type(found) is not int or not least <= found <= most:
        raise _refusal(f"found {quote(found)}; {least} to {most} are allowed", f"/{name}")
    return found


def _number(document: dict[str, Any], name: str, usual: float) -> float:
    found = document.get(name, usual)
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= 1e6:
        raise _refusal(f"found {quote(found)}; a number is needed", f"/{name}")
    return float(found)


def _refusal(detail: str, pointer: str | None = None) -> ModelFileError:
    return ModelFileError(Problem("unsupported_preprocessing", f"{PROCESSOR}: {detail}.", pointer))
