"""What README and docs show can be used: specs are valid, code compiles, links lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fdkd_core.data.description import parse_description
from fdkd_core.spec import load_spec

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LEAST: dict[str, Any] = {
    "kind": "distill",
    "dataset": "digits",
    "task": {"kind": "classification"},
    "teacher": {"modality": "image"},
    "student": {"modality": "audio"},
}
"""What a block that shows a part of a spec is read with."""


def blocks(language: str) -> list[Any]:
    found = []
    for document in DOCUMENTS:
        texts = re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
        name = document.relative_to(ROOT)
        found += [pytest.param(text, id=f"{name}-{number}") for number, text in enumerate(texts)]
    return found


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_spec_is_valid(text: str) -> None:
    if text.startswith("# dataset.yaml\n"):
        assert parse_description(text.encode()).modalities
        return
    part = yaml.safe_load(text)
    spec = load_spec(part if "kind" in part else {**LEAST, **part})
    assert load_spec(spec.model_dump(mode="json", exclude_unset=True)) == spec  # as the client sends it


@pytest.mark.parametrize("text", blocks("python"))
def test_python_compiles(text: str) -> None:
    ast.parse(text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    lost = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not lost


def test_there_is_something_to_check() -> None:
    assert len(blocks("yaml")) >= 5
    assert len(blocks("python")) >= 2
