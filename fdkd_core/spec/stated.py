"""Which network a spec and its inputs mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from fdkd_core.spec.architectures import ArchitectureSpec
from fdkd_core.spec.catalogue import default_architecture
from fdkd_core.spec.tasks import TaskSpec

_ARCHITECTURE: TypeAdapter[ArchitectureSpec] = TypeAdapter(ArchitectureSpec)


def stated_or_default(
    stated: ArchitectureSpec | None, column: Mapping[str, Any], task: TaskSpec
) -> ArchitectureSpec:
    """The architecture of a spec, or the default for what the column, or the model that reads it, is."""
    return stated or default_architecture(column.get("kind") or column["modality_kind"], task)


def parsed_architecture(architecture: Any) -> ArchitectureSpec:
    """The architecture in a report."""
    return _ARCHITECTURE.validate_python(architecture, strict=False)  # JSON, in which a tuple is a list
