"""The model card, `README.md` of a bundle: what the model is, how good it is, and against what. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from fdkd_core.bundle.card_costs import costs_section
from fdkd_core.bundle.card_plot import draw
from fdkd_core.bundle.card_uplift import uplift_section
from fdkd_core.bundle.config import PLOT, BundleConfig, OnnxRecord
from fdkd_core.bundle.one_line import on_one_line
from fdkd_core.bundle.task_words import TASK_WORDS, TaskWords
from fdkd_core.spec.export_result import ExportReport
from fdkd_core.spec.figures import figure
from fdkd_core.spec.result import GateResult, ModelResult, TaughtRows
from fdkd_core.spec.strict import StrictModel
from fdkd_core.spec.tasks import facts_of_figures
from fdkd_core.spec.uplift import AnyUplift

_LAST_ROLES = ("student", "control")
"""Shown after the teachers, of which there may be several."""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]#!|~$@:])")
_MAX_CHARACTERS = 300
_MAX_CLASSES = 30
_RELATIVE_LIMIT = 1e-4
"""Of the logits; float32 in another order of operations stays a hundred times below."""


class ModelCard(StrictModel):
    """What a run knows about its models. Texts come from users and are escaped when rendered."""

    spec: dict[str, Any]
    """The resolved job specification as JSON."""
    results: dict[str, ModelResult]
    """By role: `student`, and `control`, `teacher`, `teacher2` and so on where the job has them."""
    uplift: AnyUplift | None = None
    gates: list[GateResult] = Field(default_factory=list)
    taught: list[TaughtRows] = Field(default_factory=list)
    data_report: dict[str, Any]
    """The data report; its `splits` are shown."""
    identity: dict[str, Any]
    """Hashes of what went in: `spec`, `data`, and `teacher` where one was given."""
    versions: dict[str, str]
    chosen: str = ""
    """How the model came to be the one that is handed over, where there were others."""


def render_card(
    card: ModelCard,
    *,
    role: str,
    folder: str,
    config: BundleConfig,
    kind: str,
    classes: Sequence[str],
    onnx: OnnxRecord | None,
    export: ExportReport | None = None,
) -> str:
    """The card as GitHub Markdown.

    Args:
        card: Facts of the run.
        role: Which of its models the bundle holds.
        folder: Name of the bundle's folder, for the snippets.
        config: `config.json`.
        kind: Kind of the modality, such as `audio`.
        classes: Class names by index.
        onnx: How model.onnx compares; None where there is none.
        export: What the ONNX files cost to run; None where nothing was measured.
    """
    sections = [
        _title(card, role, config, kind, classes),
        _scores(card),
        uplift_section(
            card.uplift,
            [escape(gate.sentence) for gate in card.gates],
            is_distilled=card.spec.get("kind") == "distill",
            is_control=_method(card) == "none",
        ),
        costs_section([(escape(name), result) for name, result in _in_order(card)], export),
        f"## How it was chosen\n\n{escape_all(card.chosen)}" if card.chosen and role == "student" else "",
        _loading(folder, config, kind, onnx, has_int8=export is not None and export.kept is not None),
        _details(card, role, onnx),
        _limits(card, kind, TASK_WORDS[config.task.kind]),
        _provenance(card),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def escape(text: object) -> str:
    """User text as inline Markdown that shows these very characters: no markup, links or HTML; one line."""
    shown = " ".join(str(text).split())
    if len(shown) > _MAX_CHARACTERS:
        shown = shown[: _MAX_CHARACTERS - 1] + "…"
    return escape_all(shown)


def escape_all(shown: str) -> str:
    """As `escape`, however long it is."""
    shown = _MARKDOWN.sub(r"\\\1", shown)
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(?i)www\.", lambda match: match.group()[:-1] + r"\.", shown)


def _title(card: ModelCard, role: str, config: BundleConfig, kind: str, classes: Sequence[str]) -> str:
    result = card.results[role]
    task = card.spec.get("task", {}).get("kind", "classification")
    words = TASK_WORDS[config.task.kind]
    answers = f"{words.answers}: {len(classes)}"
    if words.are_named:
        named = ", ".join(escape(label) for label in classes[:_MAX_CLASSES])
        more = f" and {len(classes) - _MAX_CLASSES} more" if len(classes) > _MAX_CLASSES else ""
        answers = f"{words.answers} ({len(classes)}): {named}{more}"
    if card.spec.get("kind") == "train" or (role == "student" and _method(card) == "none"):
        origin = "Trained on labels alone, without a teacher."
    elif role != "student":
        origin = "Trained on labels to teach another modality's student."
    else:
        # From the spec where it is known: a recorded teacher without logits has no result.
        parts = [card.spec["teacher"], *card.spec.get("more_teachers", ())] if "teacher" in card.spec else []
        taught_by = [_taught_by(part) for part in parts]
        taught_by = taught_by or [escape(card.results[teacher].modality) for teacher in _teachers(card)]
        view = str(card.spec.get("teacher_view", "paired")).replace("_", " ")
        control = "" if view == "paired" else f", as a control: with {escape(view)}"
        one_or_more = "a teacher of the modality" if len(taught_by) == 1 else "teachers of the modalities"
        if any(part.get("outputs_from") for part in parts):  # which are known by their columns alone
            one_or_more = "a teacher" if len(taught_by) == 1 else "teachers:"
        origin = (
            f"Distilled from {one_or_more} {', '.join(taught_by)} with {escape(_method(card))}{control}."
            if taught_by
            else ""
        )
    return (
        f"# {escape(card.spec.get('name', role))}\n\n"
        f"A {escape(task)} model for the modality {escape(result.modality)} (kind {escape(kind)}). "
        f"{origin}\n\n"
        f"- Input: {config.input_dtype} {list(config.input_shape)}, as `preprocess.json` describes\n"
        f"- {answers}\n"
        f"- Network: {_architecture(result.architecture)}\n"
        f"- Size: {result.parameters:,} parameters, {result.multiply_adds:,} multiply-adds per sample"
    )


def _taught_by(teacher: Mapping[str, Any]) -> str:
    """What a teacher saw, or where what it said was recorded."""
    columns = teacher.get("outputs_from")
    if not columns:
        return escape(teacher.get("modality", "?"))
    return f"recorded in {' and '.join(escape(name) for name in columns.values() if name)}"


def _scores(card: ModelCard) -> str:
    measures = facts_of_figures(next(iter(card.results.values())).test).measures
    columns = [f"{split} {measure.words}" for split in ("val", "test") for measure in measures]
    rows = [
        f"| model | modality | parameters | {' | '.join(columns)} | test loss |",
        "|---|---|---:|" + "---:|" * (len(columns) + 1),
    ]
    for role, result in _in_order(card):
        figures = [
            measure.text(figure(found, measure.name), unit=True)
            for found in (result.val, result.test)
            for measure in measures
        ]
        rows.append(
            f"| {escape(role)} | {escape(result.modality)} | {_parameters(result)} | "
            + " | ".join(figures)
            + f" | {result.test.loss:.3f} |"
        )
    numbers = next(iter(card.results.values()))
    text = (
        f"Validation ({numbers.val.num_samples:,} samples) chose the weights; the test split "
        f"({numbers.test.num_samples:,} samples) was read once, at the end."
    )
    if "control" in card.results:
        text += (
            " The control is the same student, trained with the same budget and seed but without a teacher."
        )
    plot = f"![What they score and what they cost]({PLOT})"
    return "\n\n".join(["## Results", "\n".join(rows), plot, text])


def _parameters(result: ModelResult) -> str:
    return f"{result.parameters:,}" if result.parameters else "-"  # of recorded outputs nobody knows


def render_plot(card: ModelCard, export: ExportReport | None) -> str:
    """The plot that the card shows, as SVG."""
    return draw(_in_order(card), export)


def _in_order(card: ModelCard) -> list[tuple[str, ModelResult]]:
    return [(role, card.results[role]) for role in (*_teachers(card), *_LAST_ROLES) if role in card.results]


def _teachers(card: ModelCard) -> list[str]:
    return sorted(role for role in card.results if role not in _LAST_ROLES)


def _loading(folder: str, config: BundleConfig, kind: str, onnx: OnnxRecord | None, *, has_int8: bool) -> str:
    value = {"text": '"some text"', "image": '"picture.png"', "audio": '"recording.wav"'}.get(
        kind, '"values.npy"'
    )
    # A Python literal within a code block; json.dumps leaves no way out of either.
    path = json.dumps(folder)
    text = (
        "## Use\n\nWith `fdkd_core`, preprocessing included:\n\n```python\nimport fdkd_core\n\n"
        f"student = fdkd_core.load_student({path})\nprediction = student.predict({value})\n"
        f"print({TASK_WORDS[config.task.kind].asked})\n```"
    )
    if has_int8:
        text += (
            f'\n\n`fdkd_core.load_student({path}, "onnx-int8")` runs the eight-bit file: see Size and speed.'
        )
    if onnx is not None:
        shape = ", ".join(str(size) for size in config.input_shape)
        note = TASK_WORDS[config.task.kind].graph
        text += (
            "\n\nWith onnxruntime alone (`examples/predict_onnx.py` also preprocesses):\n\n```python\n"
            "import numpy as np\nimport onnxruntime\n\n"
            f"session = onnxruntime.InferenceSession({json.dumps(folder + '/model.onnx')})\n"
            f"inputs = np.zeros((1, {shape}), np.{config.input_dtype})  # preprocessed, any batch size\n"
            f'logits, features = session.run(["logits", "features"], {{"inputs": inputs}}){note}\n```'
        )
    return text


def _details(card: ModelCard, role: str, onnx: OnnxRecord | None) -> str:
    lines = ["## How it was made", ""]
    lines.append(f"- Dataset: {escape(card.spec.get('dataset', 'not named'))}{_counts(card)}")
    if "method" in card.spec:
        lines += [f"- Method: {escape(on_one_line(method))}" for method in _methods(card)]
        lines += [f"- {escape(rows.sentence)}" for rows in card.taught]
    training = card.spec.get("training")
    if role != "student":
        parts = [card.spec.get("teacher", {}), *card.spec.get("more_teachers", ())]
        training = parts[_teachers(card).index(role)].get("train")
    lines.append(f"- Training: {escape(on_one_line(training or {}))}")
    for name, result in _in_order(card):
        how = (
            f"{result.epochs} epochs, best {result.best_epoch}, {result.seconds:.0f} s"
            if result.epochs
            else "given, not trained here"
        )
        lines.append(f"- {name.capitalize()}: {_architecture(result.architecture)}; {how}")
    if onnx is not None:
        agrees = (
            ""
            if onnx.relative_difference <= _RELATIVE_LIMIT
            else " **This is more than rounding explains: prefer model.safetensors.**"
        )
        lines.append(
            f"- `model.onnx` (opset {onnx.opset}) against the weights, on {onnx.num_samples:,} test samples: "
            f"largest difference of a logit {onnx.max_abs_difference:.2g} (relative "
            f"{onnx.relative_difference:.2g}), same prediction on {onnx.equal_predictions:,}.{agrees}"
        )
    return "\n".join(lines)


def _limits(card: ModelCard, kind: str, words: TaskWords) -> str:
    limits = [
        words.knows,
        "The figures hold for data like the test split: other devices, places or people can be much harder.",
        words.uncertain,
        "The data were not examined for bias. Check the groups that matter to you before relying on it.",
    ]
    if kind in ("audio", "text", "series"):
        limits.append("Inputs longer than `input_shape` in `preprocess.json` are cut.")
    warnings = card.data_report.get("warnings", [])
    if isinstance(warnings, list):
        limits += [f"Of the data: {escape(warning)}" for warning in warnings[:10]]
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _provenance(card: ModelCard) -> str:
    seed = card.spec.get("training", {}).get("seed")
    hashes = {name: value for name, value in card.identity.items() if value}
    lines = [f"- sha256 of the {escape(name)}: {escape(value)}" for name, value in hashes.items()]
    if seed is not None:
        lines.append(f"- Seed: {escape(seed)}")
    lines.append(f"- Versions: {escape(on_one_line(card.versions))}")
    lines.append("- `manifest.json` lists the sha256 of every file here")
    return "## Provenance\n\n" + "\n".join(lines)


def _counts(card: ModelCard) -> str:
    splits: Mapping[str, Any] = card.data_report.get("splits", {})
    rows = {name: facts["rows"] for name, facts in splits.items()}
    return f" ({escape(on_one_line(rows))} rows)" if rows else ""


def _method(card: ModelCard) -> str:
    return " + ".join(str(method.get("name", "no method")) for method in _methods(card))


def _methods(card: ModelCard) -> Sequence[Mapping[str, Any]]:
    """The method; of a combination its parts, each with its factor."""
    method = card.spec.get("method", {})
    parts = [{**part["method"], "times": part.get("weight", 1.0)} for part in method.get("parts", ())]
    return parts or [method]


def _architecture(fields: Mapping[str, Any]) -> str:
    return escape(on_one_line(fields))
