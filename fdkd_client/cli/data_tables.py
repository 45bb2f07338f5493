"""Datasets, models and the catalogue as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fdkd_client.cli.job_tables import failure_view
from fdkd_client.cli.terminal import new_table, plain, short_name
from fdkd_client.cli.wording import age, percent, styled_state
from fdkd_client.results import Catalog, Dataset, Model, Usage
from fdkd_core.count_words import count, size

_MAX_TARGETS = 20
"""Of those that are shown: vectors to be found have hundreds."""
_SUMMARY_WIDTH = 64
_FORMS = {"classes": " (sets of them)", "identity": " (identities)"}
_SPLITS = {"train": 0, "unlabelled": 1, "val": 2, "test": 3}


def datasets_table(datasets: Iterable[Dataset]) -> Table:
    """One line per dataset."""
    table = new_table("id", "name", "state", "format", "size", "created", right=("size",), wide=("name",))
    for dataset in datasets:
        table.add_row(
            dataset.id,
            short_name(dataset.name),
            styled_state(dataset.state),
            plain(dataset.format or ""),
            size(dataset.size_bytes),
            age(dataset.created_at),
        )
    return table


def dataset_view(dataset: Dataset) -> Group:
    """Everything about one dataset: what is in it, or what is wrong with it."""
    facts = _facts()
    facts.add_row("dataset", f"[bold]{plain(dataset.name)}[/]  {dataset.id}")
    facts.add_row("state", f"{styled_state(dataset.state)}, [dim]created {age(dataset.created_at)}[/]")
    facts.add_row("file", f"{plain(dataset.format or '?')}, {size(dataset.size_bytes)}")
    if dataset.sha256:
        facts.add_row("sha256", dataset.sha256)
    report = dataset.report or {}
    if report.get("targets"):
        targets = report["targets"]
        more = [f"and {len(targets) - _MAX_TARGETS} more"] if len(targets) > _MAX_TARGETS else []
        facts.add_row("numbers", "\n".join([*map(_target, targets[:_MAX_TARGETS]), *more]))
    elif isinstance(report.get("classes"), list):
        form = _FORMS.get(str(report.get("label_form")), "")
        if report.get("mask_shape"):
            form = f" (masks of {' x '.join(map(str, report['mask_shape']))})"
        facts.add_row("classes", _listed(report["classes"]) + form)
    if isinstance(report.get("splits"), dict):
        splits = sorted(report["splits"].items(), key=lambda item: _SPLITS.get(item[0], len(_SPLITS)))
        rows = (f"{plain(name)} {split['rows']:,}" for name, split in splits if "rows" in split)
        facts.add_row("rows", ", ".join(rows))
    parts: list[RenderableType] = [facts]
    if isinstance(report.get("modalities"), dict) and report["modalities"]:
        parts += ["", _modalities_table(report["modalities"])]
    for warning in report.get("warnings") or ():
        parts.append(Text.from_markup(f"[yellow]warning:[/] {plain(warning)}"))
    if dataset.error:
        parts += ["", failure_view(dataset.error)]
    return Group(*parts)


def models_table(models: Iterable[Model]) -> Table:
    """One line per model."""
    table = new_table("id", "name", "state", "is", "network", "created", wide=("name",))
    for model in models:
        table.add_row(
            model.id,
            short_name(model.name),
            styled_state(model.state),
            _origin(model),
            plain((model.architecture or {}).get("name", "")),
            age(model.created_at),
        )
    return table


def model_view(model: Model) -> Group:
    """Everything about one model."""
    facts = _facts()
    facts.add_row("model", f"[bold]{plain(model.name)}[/]  {model.id}")
    facts.add_row("state", f"{styled_state(model.state)}, [dim]created {age(model.created_at)}[/]")
    facts.add_row("is", f"{_origin(model)}{plain(f' of {model.job_id}' if model.job_id else '')}")
    facts.add_row("file", f"{plain(model.format or '?')}, {size(model.size_bytes)}")
    if model.sha256:
        facts.add_row("sha256", model.sha256)
    if model.architecture:
        options = ", ".join(f"{key} {value}" for key, value in model.architecture.items() if key != "name")
        facts.add_row("network", plain(f"{model.architecture.get('name', '?')}: {options}"))
    report = model.report or {}
    if report.get("modality_kind"):
        facts.add_row("sees", plain(f"{report['modality_kind']} {report.get('input_shape', '')}"))
    if isinstance(report.get("classes"), list):
        facts.add_row("classes", _listed(report["classes"]))
    if _parameters(model):
        facts.add_row("params", _parameters(model))
    parts: list[RenderableType] = [facts]
    if model.error:
        parts += ["", failure_view(model.error)]
    return Group(*parts)


def catalog_view(catalog: Catalog) -> Group:
    """What jobs may be made of."""
    kinds = new_table("kind of job", "what it does", wide=("what it does",))
    for kind in catalog.kinds:
        kinds.add_row(plain(kind.name), _summary(kind.description))
    networks = new_table("architecture", "fits", "what it is", wide=("fits", "what it is"))
    for architecture in catalog.architectures:
        networks.add_row(
            plain(architecture.name), plain(", ".join(architecture.kinds)), _summary(architecture.description)
        )
    methods = new_table("method", "what it does", wide=("what it does",))
    for method in catalog.methods:
        methods.add_row(plain(method.name), _summary(method.description))
    for table in (kinds, networks, methods):
        table.columns[-1].max_width = _SUMMARY_WIDTH  # where output is piped, nothing else would wrap it
    facts = _facts()
    facts.add_row("modalities", plain(", ".join(_name(kind) for kind in catalog.modality_kinds)))
    facts.add_row("tasks", plain(", ".join(_name(task) for task in catalog.tasks)))
    hint = Text("Every option with its range: fdkd catalog --output json", style="dim")
    return Group(kinds, "", networks, "", methods, "", facts, "", hint)


def _summary(description: str) -> str:
    """The first paragraph of a description as one line of text; the rest is for `--output json`."""
    paragraph, _, _ = description.strip().partition("\n\n")
    return plain(" ".join(paragraph.split()))


def usage_view(usage: Usage) -> Group:
    """What is stored, by what it is, and what the quota leaves."""
    facts = _facts()
    for name, num_bytes in usage.stored.items():
        facts.add_row(plain(name), size(num_bytes))
    share = f" ({percent(usage.stored_bytes / usage.max_stored_bytes)} %)" if usage.max_stored_bytes else ""
    facts.add_row("stored", f"{size(usage.stored_bytes)} of {size(usage.max_stored_bytes)}{share}")
    hint = Text("`fdkd jobs rm`, `fdkd datasets rm` and `fdkd models rm` make room.", style="dim")
    return Group(facts, "", hint)


def _facts() -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    return facts


def _modalities_table(modalities: dict[str, Any]) -> Table:
    table = new_table("modality", "kind", "input", "distinct", "notes", right=("distinct",), wide=("notes",))
    for name, found in modalities.items():
        shape = found.get("input_shape")
        table.add_row(
            plain(name),
            plain(found.get("kind", "")),
            " x ".join(str(size_) for size_ in shape) if isinstance(shape, list) else "",
            f"{found['distinct_values']:,}" if isinstance(found.get("distinct_values"), int) else "",
            plain("; ".join(str(note) for note in found.get("notes") or ())),
        )
    return table


def _target(found: dict[str, Any]) -> str:
    """One number that is to be learnt, over the training rows."""
    low, high, mean, std = (f"{found[name]:.4g}" for name in ("min", "max", "mean", "std"))
    return plain(f"{found['name']}: {low} to {high}, mean {mean}, deviation {std}")


def _listed(names: list[Any], at_most: int = 12) -> str:
    shown = ", ".join(plain(name) for name in names[:at_most])
    more = f" and {len(names) - at_most:,} more" if len(names) > at_most else ""
    return f"{count(len(names), 'class', 'classes')}: {shown}{more}"


def _origin(model: Model) -> str:
    return plain(model.role or model.source or "")


def _parameters(model: Model) -> str:
    parameters = (model.report or {}).get("parameters")
    return f"{parameters:,}" if isinstance(parameters, int) else ""


def _name(entry: object) -> str:
    return str(entry.get("name") or entry.get("kind") or "?") if isinstance(entry, dict) else str(entry)
