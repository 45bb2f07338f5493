"""The API's description is valid, complete, and that of the app."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from service_fixtures import ServiceUnderTest, make_app

from service import errors, openapi
from service.auth import PUBLIC_PATHS
from service.errors import ServiceError, documented

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi.json"
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceUnderTest]:
    folder: Path = tmp_path_factory.mktemp("service")
    with make_app(f"sqlite:///{folder}/db", folder) as service:
        yield service


@pytest.fixture(scope="module")
def document(service: ServiceUnderTest) -> dict[str, Any]:
    return service.app.openapi()


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    here: Any = document
    for part in node["$ref"].removeprefix("#/").split("/"):
        here = here[part]
    found: dict[str, Any] = here
    return found


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, node
    for key, child in (
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    ):
        yield from walk(child, f"{path}/{key}")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPI.model_validate(document)
    assert set(document) <= {"openapi", "info", "paths", "components", "tags", "servers"}
    assert document["info"]["title"]
    assert document["info"]["version"]
    for path, method, operation in operations(document):
        assert path.startswith("/")
        assert method in {"get", "head", "post", "put", "patch", "delete"}
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5][0-9][0-9]|default", status)
            assert resolve(document, response)["description"]
        templates = set(re.findall(r"\{([^}]+)\}", path))
        parameters = operation.get("parameters", [])
        assert {p["name"] for p in parameters if p["in"] == "path"} == templates, path
        keys = [(p["in"], p["name"]) for p in parameters]
        assert len(keys) == len(set(keys)), (method, path)
        for parameter in parameters:
            assert parameter["in"] in {"path", "query", "header"}
            assert parameter["schema"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = [node["$ref"] for _, node in walk(document) if isinstance(node, dict) and "$ref" in node]
    assert len(references) > 20
    for reference in references:
        here: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in here, reference
            here = here[part]
    assert not [path for path, node in walk(document) if isinstance(node, dict) and "$defs" in node]
    for _, node in walk(document):
        for target in (
            (node.get("discriminator") or {}).get("mapping", {}).values() if isinstance(node, dict) else ()
        ):
            assert target.rpartition("/")[2] in document["components"]["schemas"], target


def test_every_schema_is_used(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    unused = [name for name in document["components"]["schemas"] if f'schemas/{name}"' not in text]
    assert unused == []


def test_each_operation_has_a_name_and_says_what_it_does(document: dict[str, Any]) -> None:
    ids = [operation.get("operationId") for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for path, method, operation in operations(document):
        assert re.fullmatch(r"[a-z][a-z_]+", operation["operationId"]), (method, path)
        assert operation["description"], (method, path)
        assert operation["tags"], (method, path)


def test_each_operation_says_who_may_and_how_it_fails(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        responses = operation["responses"]
        assert ("401" in responses) == (path not in PUBLIC_PATHS), (method, path)
        if path not in PUBLIC_PATHS:
            assert list(operation["security"][0]) == ["api_key"]
            assert operation["security"][0]["api_key"] == ["read" if method in ("get", "head") else "write"]
        for status, response in responses.items():
            if status >= "400" and (path, status) != ("/readyz", "503"):
                content = resolve(document, response)["content"]
                assert list(content) == [PROBLEM], (method, path, status)
                assert "#/components/schemas/Problem" in json.dumps(content)
        if "{" in path:
            assert "404" in responses, (method, path)


def test_every_route_is_described_and_nothing_else(
    service: ServiceUnderTest, document: dict[str, Any]
) -> None:
    described = {(path, method.upper()) for path, method, _ in operations(document)}
    routes = {(path, method) for path, method, _ in openapi.operations(service.app)}
    assert described <= routes
    hidden = {(path, method) for path, method in routes - described if method != "HEAD"}
    assert hidden == {("/v1/openapi.json", "GET")}


def test_every_error_is_documented_somewhere(document: dict[str, Any]) -> None:
    codes = set(re.findall(r"`([a-z_]+)`: ", json.dumps(document["components"]["responses"])))
    # Of methods that are not there; a base class; and one that no route lets happen.
    silent = {"method_not_allowed", "conflict", "invalid_transition"}
    missing = {
        error.code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, ServiceError) and str(error.code) not in codes
    }
    assert missing == silent


def test_states_and_other_choices_are_enumerated(document: dict[str, Any]) -> None:
    enumerations = {
        tuple(node["enum"]) for _, node in walk(document) if isinstance(node, dict) and "enum" in node
    }
    assert ("queued", "running", "succeeded", "failed", "cancelled") in enumerations
    assert ("validating", "ready", "invalid") in enumerations


def test_it_is_served_with_a_key_only(service: ServiceUnderTest, document: dict[str, Any]) -> None:
    assert service.client.get("/v1/openapi.json").json() == document
    assert service.client.get("/v1/openapi.json", headers={"Authorization": ""}).status_code == 401


def test_the_description_is_the_one_that_was_agreed_on(service: ServiceUnderTest) -> None:
    """After a change of the API: `make openapi`, and look at the diff."""
    assert json.loads(GOLDEN.read_text()) == json.loads(openapi.as_text(service.app))


def test_errors_of_one_status_are_listed_together() -> None:
    found = documented(errors.NotReadyError, errors.InUseError, errors.NotFoundError)
    assert set(found) == {404, 409}
    assert "`not_ready`: " in found[409]["description"]
    assert found[409]["content"][PROBLEM]["schema"]["allOf"][1] == {
        "properties": {"code": {"enum": ["in_use", "not_ready"]}}
    }
