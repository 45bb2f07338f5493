"""The catalogue of a real service, as `fdkd catalog` shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fdkd_command import Terminal, fdkd
from scripted_server import Answer, ScriptedServer

from service.catalog import catalog
from service.settings import Settings


@pytest.fixture(autouse=True)
def served(scripted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = catalog(Settings(data_dir=tmp_path)).model_dump(mode="json", by_alias=True)
    scripted.on("GET", "/v1/catalog", Answer(200, content))
    monkeypatch.setenv("FDKD_URL", scripted.url)
    monkeypatch.setenv("FDKD_API_KEY", "fdkd_key")


def test_descriptions_are_one_paragraph_of_lines_that_can_be_read() -> None:
    ran = fdkd("catalog")
    assert ran.status == 0, ran.stderr
    assert "\\n" not in ran.stdout
    assert "\\t" not in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 140
    assert "fd_cmkd" in ran.stdout
    assert "…" not in ran.stdout, "nothing is cut off"


def test_they_fit_a_terminal() -> None:
    terminal = Terminal("catalog", columns=80)
    assert terminal.wait() == 0
    assert "\\n" not in terminal.text
