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
CODE = ("fdkd_core", "fdkd_client", "service", "worker", "benchmarks", "examples", "migrations", "tests")
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
    links = [link for link in re.findall(r"\]\(([^)]+)\)", document.read_text()) if "://" not in link]
    lost = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def anchors(document: Path) -> list[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_that_is_named_is_there(document: Path) -> None:
    """Python files by the end of their path; `module.name` by a definition in the module of that name."""
    files = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    paths = {f"/{path.relative_to(ROOT)}" for path in files}
    text = document.read_text()
    lost = [
        name
        for name in re.findall(r"`([\w/]+\.py)\b", text)
        if not any(path.endswith(f"/{name}") for path in paths)
    ]
    if document.name == "architecture.md":
        lost += [name for name in re.findall(r"`([a-z_/]+(?:\.\w+)+)`", text) if not is_defined(name, files)]
    assert not lost


def is_defined(name: str, files: list[Path]) -> bool:
    """Whether dots lead to a module, a name in it, or one of a class in it; names of files are not asked."""
    parts = name.replace("/", ".").split(".")
    if parts[-1] in ("py", "json", "jsonl", "toml", "zip") or parts[0] == "resources":
        return True
    for length in range(len(parts), 0, -1):
        module = "/".join(parts[:length])
        ends = (f"/{module}.py", f"/{module}/__init__.py")
        if found := [path for path in files if f"/{path.relative_to(ROOT)}".endswith(ends)]:
            rest = parts[length:]
            return any(all(re.search(rf"\b{part}\b", path.read_text()) for part in rest) for path in found)
    return False


def test_there_is_something_to_check() -> None:
    assert len(blocks("yaml")) >= 5
    assert len(blocks("python")) >= 2
