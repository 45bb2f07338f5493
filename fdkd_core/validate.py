"""`python -m fdkd_core.validate dataset|model PATH --out REPORT.json`: what an upload holds, or lacks.

Exit codes: 0, and the report is in REPORT.json; 2, and `{code, problems}` is; 4 the disk is full; 5 out of
memory. It decodes what strangers wrote: run it as a process of its own, with limits.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fdkd_core.atomic_files import storage_errors, write_json_atomic
from fdkd_core.errors import FDKDError, InputError, ModelFileError, Problem
from fdkd_core.memory_limit import limit_own_memory, memory_errors
from fdkd_core.spec import ArchitectureSpec
from fdkd_core.spec.loading import problems_of

MAX_ARCHITECTURE_BYTES = 1 << 16
_ARCHITECTURE: TypeAdapter[ArchitectureSpec] = TypeAdapter(ArchitectureSpec)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    limit_own_memory()
    try:
        with memory_errors():
            report = options.validate(options)
        write_json_atomic(options.out, report)
    except InputError as error:
        problems = [problem.as_dict() for problem in error.problems]
        write_json_atomic(options.out, {"code": error.code, "problems": problems})
        return error.exit_code
    except FDKDError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return error.exit_code
    return 0


def validate_dataset(
    path: Path, *, manifest: str | None = None, cache_dir: Path | None = None
) -> dict[str, Any]:
    """The report of `load_dataset` over every modality column; a missing validation split is cut with seed 0.

    Raises:
        DatasetError: Everything that is wrong.
    """
    from fdkd_core.data.dataset import load_dataset

    return load_dataset(path, None, manifest=manifest, cache_dir=cache_dir).report


def validate_model(
    path: Path, *, architecture: ArchitectureSpec | None = None, unpack: Path | None = None
) -> dict[str, Any]:
    """The report on a model: see `model_report`.

    Args:
        path: A bundle or a Hugging Face folder, zipped or not, a file that ends in .onnx, or a safetensors
            file.
        architecture: What the weights of a safetensors file belong to.
        unpack: Where the files of a zipped bundle go once all of them were checked, and the bundle that a
            zipped Hugging Face folder was made into; absent or empty so far.

    Raises:
        ModelFileError: Everything that is wrong.
        IncompatibleError: The architecture is not possible, or too large.
        StorageError: No room to unpack.
    """
    if path.is_dir():
        from fdkd_core.hugging_face.files import is_hugging_face

        if is_hugging_face(path):
            with tempfile.TemporaryDirectory(prefix="fdkd-imported-") as holder:
                return _checked_folder(_converted(path, Path(holder)))
        return _checked_folder(path)
    if path.suffix.lower() == ".onnx":
        return _checked_onnx(path, architecture)
    if _is_zip(path):
        return _checked_archive(path, unpack)
    if architecture is None:
        raise ModelFileError(Problem("missing_field", "is required with a weights file", "/architecture"))
    from fdkd_core.model_report import check_weights, weights_report

    report = weights_report(path, architecture)
    check_weights(path, architecture)
    return report


def parse_architecture(text: str) -> ArchitectureSpec:
    """An architecture from its JSON.

    Raises:
        ModelFileError: With a problem for each thing wrong, pointing below `/architecture`.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_ARCHITECTURE_BYTES:
        detail = f"is longer than {MAX_ARCHITECTURE_BYTES} bytes"
        raise ModelFileError(Problem("exceeds_limit", detail, "/architecture"))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ModelFileError(Problem("invalid_json", "is not JSON", "/architecture")) from None
    if not isinstance(document, dict):
        raise ModelFileError(Problem("wrong_type", "is not a JSON object", "/architecture"))
    try:
        return _ARCHITECTURE.validate_json(text)
    except ValidationError as error:
        raise ModelFileError(
            Problem(found.code, found.detail, f"/architecture{(found.pointer or '').rstrip('/')}")
            for found in problems_of(error, document)
        ) from None


def _is_zip(path: Path) -> bool:
    from fdkd_core.bundle.archive import ZIP_START
    from fdkd_core.bundle.regular_file import open_regular
    from fdkd_core.bundle.unsafe_format import refuse_unsafe_format

    file, _ = open_regular(path, follow_links=True)
    with file:
        start = file.read(16)
    if path.suffix.lower() != ".zip":
        refuse_unsafe_format(path.name, b"")  # torch saves zip archives under names of its own
    return start.startswith(ZIP_START)


def _checked_archive(path: Path, unpack: Path | None) -> dict[str, Any]:
    from fdkd_core.bundle.archive import unpack_bundle
    from fdkd_core.hugging_face.files import is_hugging_face

    place = unpack.parent if unpack is not None else None
    with storage_errors():
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=place))
    try:
        folder = holder / "bundle"
        unpack_bundle(path, folder)
        if is_hugging_face(folder):
            folder = _converted(folder, holder)
        report = _checked_folder(folder)
        if unpack is not None:
            with storage_errors():
                os.rename(folder, unpack)  # over an empty folder too, and all files at once
        return report
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _converted(folder: Path, holder: Path) -> Path:
    """A Hugging Face folder as a bundle, which takes its place: what teaches is what was checked."""
    from fdkd_core.hugging_face.folder import convert_folder

    out = holder / "converted"
    convert_folder(folder, out)
    return out


def _checked_folder(folder: Path) -> dict[str, Any]:
    from fdkd_core.bundle import load_bundle
    from fdkd_core.bundle.folder import ONNX
    from fdkd_core.bundle.regular_file import read_limited
    from fdkd_core.model_report import bundle_report

    bundle = load_bundle(folder)
    _ = bundle.model  # reads and checks the weights
    if (folder / ONNX).exists():
        from fdkd_core.onnx_files.structure import MAX_ONNX_BYTES, check_onnx

        check_onnx(read_limited(folder / ONNX, MAX_ONNX_BYTES))
    return bundle_report(bundle)


def _checked_onnx(path: Path, architecture: ArchitectureSpec | None) -> dict[str, Any]:
    from fdkd_core.bundle.regular_file import read_limited
    from fdkd_core.onnx_files.network import OnnxNetwork
    from fdkd_core.onnx_files.structure import MAX_ONNX_BYTES

    if architecture is not None:
        detail = "an ONNX file holds its network itself"
        raise ModelFileError(Problem("conflicting_fields", detail, "/architecture"))
    return OnnxNetwork(read_limited(path, MAX_ONNX_BYTES, follow_links=True)).report()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fdkd_core.validate",
        description="Check an uploaded dataset or model and write a report on it.",
        epilog="Exit codes: 0 usable, 2 refused (the report says why), 4 storage, 5 out of memory.",
    )
    commands = parser.add_subparsers(required=True, metavar="dataset|model")
    dataset = commands.add_parser("dataset", help="read and decode paired data")
    dataset.add_argument("path", type=Path, metavar="PATH", help="folder, .zip, .tar, .npz or .parquet")
    dataset.add_argument("--manifest", help="manifest inside the data, where there are several")
    dataset.add_argument("--cache-dir", type=Path, help="where decoded data too large for memory go")
    dataset.set_defaults(validate=_validate_dataset)
    model = commands.add_parser("model", help="check weights or a bundle")
    model.add_argument("path", type=Path, metavar="PATH", help=".safetensors, .onnx, bundle .zip or folder")
    model.add_argument("--architecture", metavar="JSON", help="of a .safetensors file, as in a job spec")
    model.add_argument("--unpack", type=Path, metavar="DIR", help="where a bundle's files go once checked")
    model.set_defaults(validate=_validate_model)
    for command in (dataset, model):
        command.add_argument("--out", type=Path, required=True, metavar="REPORT.json")
    return parser


def _validate_dataset(options: argparse.Namespace) -> dict[str, Any]:
    return validate_dataset(options.path, manifest=options.manifest, cache_dir=options.cache_dir)


def _validate_model(options: argparse.Namespace) -> dict[str, Any]:
    stated = options.architecture
    architecture = parse_architecture(stated) if stated is not None else None
    return validate_model(options.path, architecture=architecture, unpack=options.unpack)


if __name__ == "__main__":
    sys.exit(main())
