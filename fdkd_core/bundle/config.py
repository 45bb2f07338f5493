"""`config.json` and `manifest.json` of a bundle: strict, so that nothing in them can ask for code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from fdkd_core.bundle.regular_file import read_limited
from fdkd_core.errors import ModelFileError, Problem, quote
from fdkd_core.spec.architectures import ArchitectureSpec
from fdkd_core.spec.input_axes import MAX_STEPS
from fdkd_core.spec.strict import StrictModel
from fdkd_core.spec.tasks import ClassificationSpec, TaskSpec

MAX_JSON_BYTES = 1 << 20
"""Of config.json and manifest.json each."""
MAX_RECIPE_BYTES = 8 << 20
"""Of preprocess.json and labels.json: mean and deviation of 65,536 features take 3.5 MB."""
MAX_TOKENIZER_BYTES = 8 << 20
MAX_PROBLEMS = 10
PLOT = "figures.svg"
"""Shown by the model card."""

Model = TypeVar("Model", bound=StrictModel)


class BundleConfig(StrictModel):
    """`config.json`: all that is needed to build the network around the weights."""

    schema_version: Literal[1] = 1
    architecture: ArchitectureSpec
    input_shape: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MAX_STEPS)], ...], Field(min_length=1, max_length=3)
    ]
    """Shape of one sample, without the batch. What a kind of modality allows of it, its recipe says."""
    input_dtype: Literal["float32", "int64"]
    vocab_size: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Number of token ids; null for float inputs."""
    num_classes: Annotated[int, Field(ge=1, le=20_000)]
    """Numbers that the network answers with."""
    task: TaskSpec = ClassificationSpec()
    """What they mean. Not written for classification, so that those bundles are what they always were."""

    def document(self) -> dict[str, Any]:
        """The file's content."""
        is_plain = isinstance(self.task, ClassificationSpec)
        return self.model_dump(mode="json", exclude={"task"} if is_plain else None)


class FileEntry(StrictModel):
    """One file of a bundle."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class OnnxRecord(StrictModel):
    """How `model.onnx` compares with the weights it was made from, over the test split."""

    opset: int
    max_abs_difference: float
    """Largest difference of a logit."""
    relative_difference: float
    """That, over the largest absolute logit."""
    equal_predictions: int
    """Samples for which both give the same class, or set of classes; numbers but for rounding, masks but for
    a pixel in a thousand."""
    num_samples: int


class Manifest(StrictModel):
    """`manifest.json`, written last: a folder without it is not known to be whole."""

    schema_version: Literal[1] = 1
    files: Annotated[dict[str, FileEntry], Field(max_length=16)]
    onnx: OnnxRecord | None = None


def read_json(
    path: str | os.PathLike[str], max_bytes: int = MAX_JSON_BYTES, *, follow_links: bool = False
) -> Any:
    """JSON of a regular file, without NaN, infinities or keys given twice.

    Raises:
        ModelFileError: `not_found`, `exceeds_limit` or `invalid_json`.
    """
    data = read_limited(path, max_bytes, follow_links=follow_links)
    try:
        return json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            Problem(
                "invalid_json", f"{quote(Path(path).name)} is not JSON (UTF-8, finite numbers, no key twice)."
            )
        ) from error


def read_model(model: type[Model], path: Path) -> Model:
    """A JSON file as a strict model.

    Raises:
        ModelFileError: As `read_json`; `not_allowed` for fields and architectures that are not known, such as
            `auto_map` or `trust_remote_code`; `invalid_value` for the rest. At most ten problems.
    """
    read_json(path)  # for duplicate keys, which pydantic takes
    try:
        return model.model_validate_json(read_limited(path, MAX_JSON_BYTES))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
    problems = []
    for item in found[:MAX_PROBLEMS]:
        unknown = item["type"] in ("extra_forbidden", "union_tag_invalid", "literal_error")
        pointer = "".join(f"/{str(part)[:64]}" for part in item["loc"])
        value = "" if item["type"] == "missing" else f" (found {quote(item['input'])})"
        problems.append(
            Problem(
                "not_allowed" if unknown else "invalid_value",
                f"{path.name}: {item['msg']}{value}.",
                pointer=pointer if pointer.isascii() else quote(pointer),
            )
        )
    raise ModelFileError(problems)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields
