"""The catalogue lists what a spec may say, with the schemas that the spec itself is read by."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from service_fixtures import make_app

from fdkd_core.spec import ArchitectureSpec, JobKind, MethodChoice, json_schema


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("service")
    with make_app(f"sqlite:///{folder}/db", folder, max_model_bytes=12345) as service:
        response = service.client.get("/v1/catalog")
        assert response.status_code == 200
        found: dict[str, Any] = response.json()
        return found


def names(union: Any) -> set[str]:
    return {spec.model_fields["name"].default for spec in get_args(get_args(union)[0])}


def test_everything_a_spec_may_name_is_there(catalog: dict[str, Any]) -> None:
    assert {entry["name"] for entry in catalog["architectures"]} == names(ArchitectureSpec)
    assert {entry["name"] for entry in catalog["methods"]} == names(MethodChoice)
    tasks = ["classification", "multilabel", "regression", "retrieval", "segmentation"]
    assert [entry["name"] for entry in catalog["tasks"]] == tasks
    assert [entry["name"] for entry in catalog["kinds"]] == list(get_args(JobKind))
    assert all(entry["description"] for entry in catalog["kinds"])
    assert catalog["modality_kinds"] == ["image", "depth", "audio", "text", "series", "vector", "map"]


def test_every_kind_has_an_architecture_and_the_other_way_round(catalog: dict[str, Any]) -> None:
    fitting = {entry["name"]: set(entry["kinds"]) for entry in catalog["architectures"]}
    assert all(fitting.values())
    assert set.union(*fitting.values()) == set(catalog["modality_kinds"])
    assert "text" in fitting["text_transformer"]


def test_the_schemas_are_those_of_the_spec(catalog: dict[str, Any]) -> None:
    definitions = json_schema()["$defs"].values()
    for entry in (*catalog["architectures"], *catalog["methods"], *catalog["tasks"]):
        assert entry["schema"]["additionalProperties"] is False
        assert entry["schema"]["properties"] in [d.get("properties") for d in definitions], entry["name"]
        assert entry["description"]


def test_limits_are_those_of_this_server(catalog: dict[str, Any]) -> None:
    assert catalog["limits"]["max_model_bytes"] == 12345
    assert catalog["limits"]["max_json_bytes"] == 1 << 20
