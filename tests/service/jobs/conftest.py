from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from job_records import add_dataset
from service_fixtures import ServiceUnderTest, make_app


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    """The API over an empty database."""
    with make_app(database_url, tmp_path) as service:
        yield service


@pytest.fixture
def new_api(empty_database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    """The API over tables that never held anything: what PostgreSQL plans depends on what they have held."""
    with make_app(empty_database_url, tmp_path) as service:
        yield service


@pytest.fixture
def dataset_id(api: ServiceUnderTest) -> str:
    """A dataset called `pairs`, ready."""
    return add_dataset(api.database)
