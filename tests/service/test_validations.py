from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from service import validations
from service.db import Database
from service.errors import StaleAttemptError
from service.identifiers import new_id
from service.settings import Settings
from service.tables import Dataset, Model, Table
from service.validations import Claim

MLP = {"name": "mlp"}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(Settings(database_url=database_url).resolved_database_url)
    Table.metadata.create_all(found.engine)
    yield found
    found.close()


def add_dataset(database: Database, **columns: Any) -> str:
    dataset_id = new_id("ds")
    values: dict[str, Any] = {
        "id": dataset_id, "owner_id": "own_1", "name": dataset_id, "name_key": dataset_id, "format": "zip",
        "size_bytes": 1, "sha256": "0" * 64, "storage_key": f"datasets/{dataset_id}/{dataset_id}.zip",
    }  # fmt: skip
    with database.write() as session:
        session.add(Dataset(**values | columns))
    return dataset_id


def add_model(database: Database, **columns: Any) -> str:
    model_id = new_id("mdl")
    values: dict[str, Any] = {
        "id": model_id, "owner_id": "own_1", "name": model_id, "name_key": model_id, "format": "safetensors",
        "source": "upload", "architecture": MLP, "size_bytes": 1, "sha256": "0" * 64,
        "storage_key": f"models/{model_id}/weights.safetensors",
    }  # fmt: skip
    with database.write() as session:
        session.add(Model(**values | columns))
    return model_id


def claim(database: Database, worker_id: str = "wrk_a", lease_s: float = 30, *which: Any) -> Claim | None:
    with database.write() as session:
        return validations.claim(session, worker_id, lease_s, *which)


def must_claim(database: Database, worker_id: str = "wrk_a", lease_s: float = 30) -> Claim:
    found = claim(database, worker_id, lease_s)
    assert found is not None
    return found


def dataset(database: Database, dataset_id: str) -> Dataset:
    with database.read() as session:
        return session.get_one(Dataset, dataset_id)


def refuses_every_write(database: Database, stale: Claim) -> bool:
    for action in (
        lambda session: validations.renew(session, stale, 30),
        lambda session: validations.finish(session, stale, report={"rows": 1}),
        lambda session: validations.release(session, stale),
    ):
        with pytest.raises(StaleAttemptError):
            with database.write() as session:
                action(session)
    return True


def test_nothing_waits(database: Database) -> None:
    add_dataset(database, state="ready")
    add_dataset(database, deleted_at=datetime.now(UTC))
    assert claim(database) is None


def test_the_oldest_of_both_kinds_comes_first(database: Database) -> None:
    ids = []
    for add in (add_model, add_dataset, add_dataset, add_model):
        ids.append(add(database))
        time.sleep(0.002)
    claims = [must_claim(database) for _ in ids]
    assert [found.id for found in claims] == ids
    assert [found.subject for found in claims] == ["model", "dataset", "dataset", "model"]
    assert claims[0].architecture == MLP
    assert claims[0].format == "safetensors"
    assert claims[1].architecture is None
    assert claims[1].storage_key == f"datasets/{ids[1]}/{ids[1]}.zip"
    assert claim(database) is None


def test_a_given_one_is_taken_only_while_it_waits(database: Database) -> None:
    add_dataset(database)
    wanted, model_id = add_dataset(database), add_model(database)
    found = claim(database, "wrk_a", 30, "dataset", wanted)
    assert found is not None
    assert found.id == wanted
    assert claim(database, "wrk_b", 30, "dataset", wanted) is None
    assert claim(database, "wrk_b", 30, "dataset", model_id) is None
    assert claim(database, "wrk_b", 30, "dataset", new_id("ds")) is None
    only_models = claim(database, "wrk_b", 30, "model")
    assert only_models is not None
    assert only_models.id == model_id


def test_one_wins_each_file(database: Database) -> None:
    ids = [*(add_dataset(database) for _ in range(6)), *(add_model(database) for _ in range(6))]

    def take(number: int) -> list[str]:
        taken = []
        while (found := claim(database, f"wrk_{number}")) is not None:
            taken.append(found.id)
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = [row_id for found in threads.map(take, range(4)) for row_id in found]
    # Skipping rows that another is about to take may end one round early; what was taken was taken once.
    while (found := claim(database)) is not None:
        taken.append(found.id)
    assert sorted(taken) == sorted(ids)


def test_a_report_makes_it_ready(database: Database) -> None:
    dataset_id = add_dataset(database)
    found = must_claim(database)
    with database.write() as session:
        validations.renew(session, found, 30)
        validations.finish(session, found, report={"rows": 7})
    row = dataset(database, dataset_id)
    assert (row.state, row.report, row.error) == ("ready", {"rows": 7}, None)
    assert row.validated_at is not None
    assert (row.worker_id, row.lease_expires_at) == (None, None)
    assert refuses_every_write(database, found)
    assert claim(database) is None


def test_an_error_makes_it_invalid(database: Database) -> None:
    model_id = add_model(database, format="bundle", architecture=None)
    found = must_claim(database)
    error = {
        "code": "invalid_model",
        "message": "No.",
        "problems": [{"code": "hash_mismatch", "detail": "x"}],
    }
    with database.write() as session:
        validations.finish(session, found, error=error, architecture=MLP, storage_key="models/x/bundle")
    with database.read() as session:
        row = session.get_one(Model, model_id)
    assert (row.state, row.error, row.architecture) == ("invalid", error, MLP)
    assert row.storage_key == "models/x/bundle"


def test_a_lost_lease_is_taken_over_and_the_first_holder_writes_nothing(database: Database) -> None:
    dataset_id = add_dataset(database)
    first = must_claim(database, "wrk_a", 0.05)
    assert claim(database, "wrk_b") is None
    time.sleep(0.1)
    second = must_claim(database, "wrk_b")
    assert (first.attempt, second.attempt) == (1, 2)
    assert refuses_every_write(database, first)
    with database.write() as session:
        validations.finish(session, second, report={"rows": 2})
    assert dataset(database, dataset_id).report == {"rows": 2}


def test_renewing_keeps_it(database: Database) -> None:
    add_dataset(database)
    found = must_claim(database, "wrk_a", 0.05)
    with database.write() as session:
        validations.renew(session, found, 30)
    time.sleep(0.1)
    assert claim(database, "wrk_b") is None


def test_releasing_costs_nothing(database: Database) -> None:
    dataset_id = add_dataset(database)
    for _ in range(5):
        found = must_claim(database)
        assert found.attempt == 1
        with database.write() as session:
            validations.release(session, found)
        assert refuses_every_write(database, found)
    assert dataset(database, dataset_id).state == "validating"


def test_a_holder_whose_number_came_again_writes_nothing(database: Database) -> None:
    add_dataset(database)
    first = must_claim(database, "wrk_a", 0.01)
    time.sleep(0.05)
    second = must_claim(database, "wrk_b", 30)
    with database.write() as session:
        validations.release(session, second)
    third = must_claim(database, "wrk_c", 30)
    assert (first.attempt, second.attempt, third.attempt) == (1, 2, 2)
    assert refuses_every_write(database, first)
    assert refuses_every_write(database, second)
    assert refuses_every_write(database, replace(third, worker_id="wrk_b"))


def test_three_losses_are_enough(database: Database) -> None:
    dataset_id, other = add_dataset(database), add_dataset(database)
    for attempt in (1, 2, 3):
        found = claim(database, "wrk_a", 0.01, "dataset", dataset_id)
        assert found is not None
        assert found.attempt == attempt
        time.sleep(0.05)
    following = must_claim(database)
    assert following.id == other
    row = dataset(database, dataset_id)
    assert row.state == "invalid"
    assert row.error is not None
    assert row.error["code"] == "crashed"
    assert refuses_every_write(database, found)


def test_the_third_attempt_may_still_finish(database: Database) -> None:
    dataset_id = add_dataset(database, attempt=2)
    found = must_claim(database)
    with database.write() as session:
        assert validations.give_up_lost(session) == 0
        validations.finish(session, found, report={"rows": 7})
    assert dataset(database, dataset_id).state == "ready"


def test_a_deleted_one_is_taken_from_its_reader(database: Database) -> None:
    dataset_id = add_dataset(database)
    found = must_claim(database)
    with database.write() as session:
        session.get_one(Dataset, dataset_id).deleted_at = datetime.now(UTC)
    assert refuses_every_write(database, found)
    row = dataset(database, dataset_id)
    assert (row.state, row.report) == ("validating", None)


def test_what_waits_too_long_is_listed(database: Database) -> None:
    dataset_id, model_id, held = add_dataset(database), add_model(database), add_dataset(database)
    claim(database, "wrk_a", 30, "dataset", held)
    with database.read() as session:
        assert validations.waiting(session, 60) == []
        time.sleep(0.02)
        assert validations.waiting(session, 0.001) == [("dataset", dataset_id), ("model", model_id)]


def test_a_rolled_back_claim_leaves_the_file_waiting(database: Database) -> None:
    dataset_id = add_dataset(database)
    with contextlib.suppress(RuntimeError), database.write() as session:
        assert validations.claim(session, "wrk_a", 30) is not None
        raise RuntimeError
    assert dataset(database, dataset_id).attempt == 0
    with database.read() as session:
        assert session.scalars(select(Dataset.worker_id)).all() == [None]
