"""A 404 says what is missing, and the same of what is another owner's."""

from __future__ import annotations

import pytest
from file_requests import check_refusal
from service_fixtures import ServiceUnderTest

from service.identifiers import new_id

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    ("address", "what", "reference"),
    [
        ("/v1/jobs/{}", "job", new_id("job")),
        ("/v1/jobs/{}/events", "job", new_id("job")),
        ("/v1/jobs/{}", "job", "digits"),
        ("/v1/datasets/{}", "dataset", new_id("ds")),
        ("/v1/models/{}", "model", new_id("mdl")),
        ("/v1/models/{}", "model", "x" * 60),
    ],
    ids=["job", "its events", "a name", "dataset", "model", "a long name"],
)
def test_it_is_named(api: ServiceUnderTest, address: str, what: str, reference: str) -> None:
    for client in (api.client, api.other_client()):
        problem = check_refusal(client.get(address.format(reference)), 404, "not_found")
        assert problem["detail"] == f"There is no {what} '{reference}', or it is not yours."


def test_an_id_of_something_else_is_seen_as_such(api: ServiceUnderTest) -> None:
    problem = check_refusal(api.client.get(f"/v1/jobs/{new_id('ds')}"), 404, "not_found")
    assert problem["detail"].endswith("', or it is not yours. Such ids are of a dataset.")


def test_an_artifact_is_named_with_its_job(api: ServiceUnderTest) -> None:
    job_id = new_id("job")
    problem = check_refusal(api.client.get(f"/v1/jobs/{job_id}/artifacts/logs.txt"), 404, "not_found")
    assert problem["detail"] == f"There is no artifact 'logs.txt' of job '{job_id}', or it is not yours."


def test_what_has_no_end_is_cut(api: ServiceUnderTest) -> None:
    problem = check_refusal(api.client.get(f"/v1/datasets/{'x' * 5000}"), 404, "not_found")
    assert len(problem["detail"]) < 200
