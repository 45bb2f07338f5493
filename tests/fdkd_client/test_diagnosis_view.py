from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest
from diagnosed import small_diagnosis
from rich.console import Console
from small_job import write_small_data

from fdkd_client.cli.diagnosis_view import diagnosis_view
from fdkd_core.options import RunOptions
from fdkd_core.run import run


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a diagnosis left behind."""
    folder = tmp_path_factory.mktemp("diagnosis")
    data = write_small_data(folder / "small.npz", rows=120)
    run(small_diagnosis(), data, folder / "out", options=RunOptions(device="cpu", threads=1))
    found: dict[str, Any] = json.loads((folder / "out" / "result.json").read_text())
    return found


def shown(document: dict[str, Any], width: int = 80) -> str:
    written = io.StringIO()
    Console(file=written, width=width).print(diagnosis_view(document))
    return written.getvalue()


def test_shows_verdict_reasons_figures_and_steps_in_80_columns(document: dict[str, Any]) -> None:
    text = shown(document)
    assert text.startswith(f"small diagnosis: {document['verdict']}\n")
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    for reason in document["reasons"]:
        assert reason["text"] in flat
    for step in document["advice"]:
        assert step in flat
    low = next(m for m in document["findings"]["similarity"]["measures"] if m["measure"] == "r2")
    assert f"low inputs {100 * low['value']:.1f} {100 * low['shuffled']['low']:.1f} to" in flat
    assert "Steps/s: teacher" in flat


def test_what_others_wrote_is_no_markup(document: dict[str, Any]) -> None:
    text = shown({**document, "name": "[red]x[/] \x1b[2J"})
    assert text.startswith("[red]x[/] \\x1b[2J: ")


def test_a_document_with_less_in_it_shows_what_it_has() -> None:
    assert "new: promising" in shown({"name": "new", "verdict": "promising"})
    assert shown({}).strip() == ": unknown"


def test_needs_neither_torch_nor_numpy() -> None:
    script = (
        "import sys\nfrom fdkd_client.cli.diagnosis_view import diagnosis_view\ndiagnosis_view({})\n"
        "print(*sorted({'torch', 'numpy', 'fdkd_core.spec.result'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).split() == []
