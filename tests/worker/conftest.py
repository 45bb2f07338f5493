"""One finished run of the core for all tests, and a service without its API for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ready_databases import lent_database
from small_job import write_small_data
from worker_rig import Rig, make_template, use_template


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of every job here."""
    return write_small_data(tmp_path_factory.mktemp("data") / "small.npz")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Path:
    """The output folder of the small job, run by the core alone and never interrupted."""
    return make_template(tmp_path_factory.mktemp("undisturbed"), small_data)


@pytest.fixture
def make_rig(tmp_path: Path, undisturbed: Path) -> Iterator[Callable[..., Rig]]:
    """Makes services on a given database."""
    made = []

    def make(database_url: str = "", **settings: Any) -> Rig:
        rig = Rig(tmp_path, database_url or f"sqlite:///{tmp_path / 'test.db'}", settings)
        use_template(rig, undisturbed)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """On SQLite."""
    return make_rig()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Workers meet PostgreSQL in the tests of the broker; their statements do, in `tests/service`."""
    yield from lent_database(request, tmp_path)


@pytest.fixture
def both_rig(make_rig: Callable[..., Rig], database_url: str) -> Rig:
    """Once on SQLite, once on PostgreSQL."""
    return make_rig(database_url)
