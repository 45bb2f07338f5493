"""Writing a bundle: everything that inference needs and nothing else. torch is imported by the call."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fdkd_core.atomic_files import fsync_folder, sha256_file, storage_errors, write_atomic, write_json_atomic
from fdkd_core.bundle.card import ModelCard, render_card, render_plot
from fdkd_core.bundle.config import PLOT, BundleConfig, FileEntry, Manifest, OnnxRecord
from fdkd_core.bundle.folder import (
    CARD,
    CONFIG,
    INT8,
    LABELS,
    MANIFEST,
    ONNX,
    PREPROCESS,
    TOKENIZER,
    WEIGHTS,
)
from fdkd_core.modalities.base import Recipe
from fdkd_core.spec.architectures import ArchitectureSpec
from fdkd_core.spec.export_result import ExportReport
from fdkd_core.spec.tasks import ClassificationSpec, TaskSpec

if TYPE_CHECKING:
    from fdkd_core.bundle.export_trial import ExportTrial
    from fdkd_core.models.base import Backbone


_CLASSIFICATION = ClassificationSpec()


@dataclass(frozen=True)
class BundleSummary:
    """What was written."""

    path: Path
    files: Mapping[str, FileEntry]
    """Size and sha256 by name, without the manifest itself."""
    onnx: OnnxRecord | None
    export: ExportReport | None = None
    """What the ONNX files cost to run; None where nothing was measured."""

    @property
    def weights(self) -> FileEntry:
        """Of model.safetensors."""
        return self.files[WEIGHTS]

    @property
    def size_bytes(self) -> int:
        """Of all files, without the manifest."""
        return sum(entry.bytes for entry in self.files.values())


def write_bundle(
    out_dir: str | os.PathLike[str],
    *,
    model: Backbone,
    architecture: ArchitectureSpec,
    recipe: Recipe,
    classes: Sequence[str],
    card: ModelCard,
    parity_inputs: NDArray[Any] | None,
    trial: ExportTrial | None = None,
    role: str = "student",
    task: TaskSpec = _CLASSIFICATION,
) -> BundleSummary:
    """Writes a bundle folder that is whole or absent under its name; one that was there is replaced.

    Args:
        out_dir: The folder to make; its parent must exist.
        model: The trained network, on any device and in any mode; it is not changed.
        architecture: What `model` was built from.
        recipe: The preprocessing with its statistics; for text its `tokenizer` becomes tokenizer.json.
        classes: Names of the numbers that the network answers with: classes by index, or targets.
        card: Facts for README.md.
        parity_inputs: The test split as the network eats it, shape [N, *input_shape], on which model.onnx is
            compared. None leaves model.onnx out, which saves its seconds for a teacher nobody serves.
        trial: On what model.onnx is measured, and model.int8.onnx against it. None measures nothing and makes
            no int8. Only with `parity_inputs`.
        role: Which model of the card this is.
        task: What the network answers.

    Raises:
        StorageError: The disk is full or failing. What was under the name before is still there.
    """
    target = Path(out_dir)
    with storage_errors():
        _remove_leftovers(target)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        try:
            draft.chmod(0o755)
            manifest, export = _fill(
                draft,
                target.name,
                model=model,
                architecture=architecture,
                recipe=recipe,
                classes=classes,
                card=card,
                parity_inputs=parity_inputs,
                trial=trial,
                role=role,
                task=task,
            )
            fsync_folder(draft)
            _put_in_place(draft, target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return BundleSummary(target, manifest.files, manifest.onnx, export)


def _fill(
    draft: Path,
    name: str,
    *,
    model: Backbone,
    architecture: ArchitectureSpec,
    recipe: Recipe,
    classes: Sequence[str],
    card: ModelCard,
    parity_inputs: NDArray[Any] | None,
    trial: ExportTrial | None,
    role: str,
    task: TaskSpec,
) -> tuple[Manifest, ExportReport | None]:
    from fdkd_core.models.weights import save_weights

    config = BundleConfig(
        architecture=architecture,
        input_shape=tuple(recipe["input_shape"]),
        input_dtype=recipe["input_dtype"],
        vocab_size=recipe.get("vocab_size"),
        num_classes=len(classes),
        task=task,
    )
    save_weights(model, draft / WEIGHTS)
    onnx, export = None, None
    if parity_inputs is not None:
        from fdkd_core.bundle.export_trial import try_export
        from fdkd_core.bundle.onnx_export import export_onnx, measure_parity  # seconds, with the compiler

        onnx_file = export_onnx(model, config.input_shape)
        onnx = measure_parity(model, onnx_file, parity_inputs, task)
        write_atomic(draft / ONNX, onnx_file)
        if trial is not None:
            exported = try_export(onnx_file, trial)
            export = exported.report
            if exported.int8_file is not None:
                write_atomic(draft / INT8, exported.int8_file)
    write_json_atomic(draft / CONFIG, config.document())
    # The tokenizer is a file of its own so that other programs can read it, and is not kept twice.
    write_json_atomic(draft / PREPROCESS, {key: recipe[key] for key in recipe if key != "tokenizer"})
    if "tokenizer" in recipe:
        write_atomic(draft / TOKENIZER, recipe["tokenizer"].encode())
    write_json_atomic(draft / LABELS, list(classes))
    text = render_card(
        card,
        role=role,
        folder=name,
        config=config,
        kind=recipe["kind"],
        classes=classes,
        onnx=onnx,
        export=export,
    )
    write_atomic(draft / CARD, text.encode())
    write_atomic(draft / PLOT, render_plot(card, export).encode())
    manifest = Manifest(
        files={
            path.name: FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)
            for path in sorted(draft.iterdir())
        },
        onnx=onnx,
    )
    write_json_atomic(draft / MANIFEST, manifest.model_dump(mode="json"))
    return manifest, export


def _put_in_place(draft: Path, target: Path) -> None:
    """Renames `draft` to `target`. A folder cannot be replaced at once: an older bundle moves aside first."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        old = target.rename(aside / "old")
        try:
            draft.rename(target)
        except BaseException:
            old.rename(target)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    else:
        draft.rename(target)
    fsync_folder(target.parent)


def _remove_leftovers(target: Path) -> None:
    """Drafts of a process that was killed. Only one process at a time writes to a run's folder."""
    for path in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
