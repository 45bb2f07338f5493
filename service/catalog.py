"""What the service can train, from the core's spec: every choice with the schema of its options."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, get_args

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from fdkd_core.spec import AnyJobSpec, JobKind, MethodChoice, TaskSpec
from fdkd_core.spec.catalogue import FITTING_KINDS, KindName
from fdkd_core.spec.resources import ResourcesSpec
from service.auth import Ctx, Reader
from service.settings import Settings

router = APIRouter(prefix="/v1", tags=["catalog"])


class Kind(BaseModel):
    """A kind of job; the schema of its spec is in the API's description."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: JobKind
    """`kind` of the spec."""
    description: str


class Choice(BaseModel):
    """Something a spec may name."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """As in the spec."""
    description: str
    options: dict[str, Any] = Field(alias="schema")
    """JSON Schema of its part of the spec, with ranges, defaults and their reasons."""


class Architecture(Choice):
    """A network."""

    kinds: list[KindName]
    """Kinds of modality whose samples it takes, given sides that are long enough."""


class Limits(BaseModel):
    """What is refused for its size; bytes where the name says so."""

    max_json_bytes: int
    max_dataset_bytes: int
    max_model_bytes: int
    max_stored_bytes: int
    max_queued_jobs: int
    upload_expiry_s: float
    idempotency_expiry_s: float


class Catalog(BaseModel):
    """All that jobs can be made of here."""

    kinds: list[Kind]
    architectures: list[Architecture]
    methods: list[Choice]
    modality_kinds: list[KindName]
    tasks: list[Choice]
    resources: dict[str, Any]
    limits: Limits


@router.get("/catalog")
async def show_catalog(context: Ctx, caller: Reader) -> Catalog:
    """Lists architectures, methods and tasks with their options, kinds of modality, and the limits here."""
    return catalog(context.settings)


def catalog(settings: Settings) -> Catalog:
    """The catalogue with the limits of these settings."""
    architectures, methods, tasks = _choices()
    return Catalog(
        kinds=_kinds(),
        architectures=architectures,
        methods=methods,
        modality_kinds=list(get_args(KindName)),
        tasks=tasks,
        resources=ResourcesSpec.model_json_schema(),
        limits=Limits.model_validate(settings, from_attributes=True),
    )


@cache
def _kinds() -> list[Kind]:
    found = {get_args(spec.model_fields["kind"].annotation)[0]: spec for spec in get_args(AnyJobSpec)}
    return [Kind(name=name, description=inspect.cleandoc(spec.__doc__ or "")) for name, spec in found.items()]


@cache
def _choices() -> tuple[list[Architecture], list[Choice], list[Choice]]:
    return (
        [Architecture(**_describe(spec, "name"), kinds=list(kinds)) for spec, kinds in FITTING_KINDS.items()],
        [Choice(**_describe(spec, "name")) for spec in _members(MethodChoice)],
        [Choice(**_describe(spec, "kind")) for spec in _members(TaskSpec)],
    )


def _members(union: Any) -> tuple[type[BaseModel], ...]:
    """The models of a tagged union, or of what would be one if there were two of them."""
    return get_args(get_args(union)[0]) if get_args(union) else (union,)


def _describe(spec: type[BaseModel], tag: str) -> dict[str, Any]:
    return {
        "name": spec.model_fields[tag].default,
        "description": inspect.cleandoc(spec.__doc__ or ""),
        "schema": spec.model_json_schema(),
    }
