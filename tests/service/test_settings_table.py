from __future__ import annotations

import re
from pathlib import Path

from service.settings import Settings
from service.settings_table import NOT_SHOWN, PATH, draw, redraw

ROOT = Path(__file__).parents[2]
TEST_SEAMS = {"FDKD_FAILPOINT"}
"""Read by what is shipped, for nobody but tests."""


def test_the_document_shows_the_settings_as_they_are() -> None:
    document = PATH.read_text(encoding="utf-8")
    assert document == redraw(document), "run python -m service.settings_table"


def test_defaults_are_for_people() -> None:
    table = draw()
    assert "| `FDKD_MAX_STORED_BYTES` | 64 GiB | Uploads, datasets, models and artifacts that" in table
    assert "| `FDKD_POLL_S` | 0.5 |" in table
    assert '| `FDKD_ALLOWED_HOSTS` | `["localhost", "127.0.0.1", "[::1]"]` |' in table
    assert "| `FDKD_BROKER_URL` |  |" in table
    assert str(Path.home()) not in table


def test_every_variable_that_is_read_is_described_and_every_other_way_round() -> None:
    """Of what is shipped; tests and benchmarks have some of their own."""
    shipped = [ROOT / "docker-compose.yml", ROOT / "Dockerfile"]
    for package in ("fdkd_core", "fdkd_client", "service", "worker"):
        shipped += sorted((ROOT / package).rglob("*.py"))
    named = {name for path in shipped for name in re.findall(r"FDKD_[A-Z]\w*", path.read_text())}
    described = set(re.findall(r"FDKD_[A-Z]\w*", PATH.read_text(encoding="utf-8")))
    settings = {f"FDKD_{name.upper()}" for name in Settings.model_fields if name not in NOT_SHOWN}
    assert named - TEST_SEAMS <= described
    assert described <= named | settings
