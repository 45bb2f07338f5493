"""A query parameter that a route does not know is refused, also where the route knows none at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from file_requests import check_refusal
from job_records import add_dataset, add_job_in
from service_fixtures import ServiceUnderTest, make_app
from sqlalchemy import func, select

from service.jobs.states import JobState
from service.tables import Job


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    with make_app(database_url, tmp_path) as service:
        yield service


def test_a_dry_run_is_not_taken_for_a_real_one(api: ServiceUnderTest) -> None:
    """Only the creation of a job has one; whoever asks for it elsewhere wants nothing to happen."""
    job_id = add_job_in(api.database, add_dataset(api.database), JobState.FAILED)
    answer = api.client.post(f"/v1/jobs/{job_id}/retry?validate_only=true")
    problem = check_refusal(answer, 422, "unknown_filter")
    assert [error["parameter"] for error in problem["errors"]] == ["validate_only"]
    with api.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1


@pytest.mark.parametrize("path", ["/v1/version", "/v1/catalog", "/v1/usage", "/v1/openapi.json"])
def test_no_route_passes_over_what_it_does_not_know(api: ServiceUnderTest, path: str) -> None:
    assert api.client.get(path).status_code == 200
    check_refusal(api.client.get(f"{path}?verbose=1"), 422, "unknown_filter")


def test_known_ones_are_read_as_before(api: ServiceUnderTest) -> None:
    assert api.client.get("/v1/jobs?limit=5").status_code == 200
    check_refusal(api.client.get("/v1/jobs?limits=5"), 422, "unknown_filter")
    # A probe may put anything there, against caches.
    assert api.client.get("/livez?t=1").status_code == 200
