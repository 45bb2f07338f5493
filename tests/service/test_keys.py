"""Keys from the command line and the one that a local installation makes for itself."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from service_fixtures import ServiceUnderTest, authorization, make_app
from sqlalchemy import delete, func, select, update

from service import keys
from service.__main__ import main
from service.auth import create_key, hash_key
from service.context import Context, open_context
from service.db import Database, db_now
from service.keys import LOCAL_KEY_FILE, ensure_local_key
from service.scopes import LOCAL_OWNER
from service.settings import Settings
from service.tables import ApiKey

KEY = re.compile(r"fdkd_[A-Za-z0-9_-]{43}")


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[ServiceUnderTest]:
    with make_app(database_url, tmp_path) as service:
        yield service


@pytest.fixture
def context(service: ServiceUnderTest) -> Context:
    return service.context


@pytest.fixture
def path(context: Context) -> Path:
    return context.settings.data_dir / LOCAL_KEY_FILE


def is_good(service: ServiceUnderTest, key: str) -> bool:
    service.app.state.keys._remembered.clear()
    return service.client.get("/v1/version", headers=authorization(key)).status_code == 200


def test_the_first_start_makes_a_key_for_whoever_can_read_the_folder(
    service: ServiceUnderTest, context: Context, path: Path
) -> None:
    key = ensure_local_key(context)
    assert KEY.fullmatch(key)
    assert path.read_text() == key + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_good(service, key)
    with context.database.read() as session:
        row = session.scalars(select(ApiKey).where(ApiKey.sha256 == hash_key(key))).one()
    assert (row.owner_id, row.name, sorted(row.scopes)) == (LOCAL_OWNER, "local", ["read", "write"])


def test_later_starts_keep_it(context: Context, path: Path) -> None:
    key = ensure_local_key(context)
    assert [ensure_local_key(context) for _ in range(3)] == [key] * 3
    assert path.read_text() == key + "\n"
    with context.database.read() as session:
        assert session.scalar(select(func.count()).where(ApiKey.name == "local")) == 1


@pytest.mark.parametrize(
    "text", ["", "\n", "fdkd_short", "not a key", "x" * 100_000, "fdkd_" + "A" * 42 + "é", "\0"]
)
def test_a_file_that_holds_no_key_is_replaced(
    service: ServiceUnderTest, context: Context, path: Path, text: str
) -> None:
    first = ensure_local_key(context)
    path.write_text(text)
    second = ensure_local_key(context)
    assert second != first
    assert path.read_text() == second + "\n"
    assert is_good(service, second)


def test_a_lost_file_is_replaced(service: ServiceUnderTest, context: Context, path: Path) -> None:
    first = ensure_local_key(context)
    path.unlink()
    second = ensure_local_key(context)
    assert second != first
    assert is_good(service, second)


def test_a_file_of_bytes_or_a_link_is_replaced_and_nothing_behind_it_touched(
    context: Context, path: Path, tmp_path: Path
) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    ensure_local_key(context)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    elsewhere.chmod(0o644)
    path.unlink()
    path.symlink_to(elsewhere)
    key = ensure_local_key(context)
    assert not path.is_symlink()
    assert path.read_text() == key + "\n"
    assert elsewhere.read_text() == "precious"
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644


def test_a_key_that_was_edited_in_is_taken(service: ServiceUnderTest, context: Context, path: Path) -> None:
    """Only the folder's owner can write there: it is as good as `keys create`."""
    ensure_local_key(context)
    mine = "fdkd_" + "M" * 43
    path.write_text(f"  {mine}\n\n")
    assert ensure_local_key(context) == mine
    assert is_good(service, mine)


def test_a_lost_database_takes_the_key_up_again(
    service: ServiceUnderTest, context: Context, path: Path
) -> None:
    key = ensure_local_key(context)
    with context.database.write() as session:
        session.execute(delete(ApiKey))
    assert not is_good(service, key)
    assert ensure_local_key(context) == key
    assert is_good(service, key)


@pytest.mark.parametrize("column", [ApiKey.revoked_at, ApiKey.expires_at])
def test_a_revoked_or_expired_key_stays_so(
    service: ServiceUnderTest, context: Context, path: Path, column: object
) -> None:
    first = ensure_local_key(context)
    with context.database.write() as session:
        session.execute(update(ApiKey).values({column: db_now(-1)}))
    second = ensure_local_key(context)
    assert second != first
    assert not is_good(service, first)
    assert is_good(service, second)


def test_a_file_that_others_could_read_is_closed(context: Context, path: Path) -> None:
    key = ensure_local_key(context)
    path.chmod(0o644)
    assert ensure_local_key(context) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_starters_at_the_same_moment_agree(service: ServiceUnderTest, context: Context, path: Path) -> None:
    path.write_text("broken")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: ensure_local_key(context), range(8)))
    assert len(found) == 1
    assert is_good(service, found.pop())
    assert [
        entry.name for entry in path.parent.iterdir() if "api-key" in entry.name and "tmp" in entry.name
    ] == []


def test_two_folders_over_one_database_have_a_key_each(
    service: ServiceUnderTest, tmp_path: Path, database_url: str
) -> None:
    here = ensure_local_key(service.context)
    other = open_context(Settings(database_url=database_url, data_dir=tmp_path / "other"))
    there = ensure_local_key(other)
    other.close()
    assert here != there
    assert is_good(service, here)
    assert is_good(service, there)


@dataclass
class Ran:
    code: int
    said: str
    complaint: str


@pytest.fixture
def run(
    empty_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., Ran]]:
    """`python -m service` in this process, which is the same but for a second of imports each time."""
    monkeypatch.setenv("FDKD_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("FDKD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("service.__main__.configure_logging", lambda: None)
    mask = os.umask(0o077)

    def command(*arguments: str) -> Ran:
        try:
            code = main(arguments)
        except SystemExit as error:  # argparse
            code = int(str(error.code))
        return Ran(code, *capsys.readouterr())

    yield command
    os.umask(mask)


def test_keys_on_the_command_line(run: Callable[..., Ran]) -> None:
    early = run("keys", "create", "--name", "early")
    assert early.code == 1
    assert "python -m service migrate" in early.complaint
    assert run("migrate").code == 0

    made = run("keys", "create", "--name", "ci\x1b[2J", "--scope", "read", "--owner", "new")
    assert made.code == 0
    key = made.said.strip()
    assert KEY.fullmatch(key), "standard output holds the key and nothing else"
    assert key not in made.complaint

    listed = run("keys", "ls").said
    assert key not in listed
    assert hash_key(key) not in listed
    (row,) = listed.splitlines()
    key_id, owner, scopes, _, state, name = row.split("\t")
    assert (scopes, state, name) == ("read", "active", "ci\\x1b[2J")
    assert owner.startswith("own_")
    assert owner != LOCAL_OWNER

    assert run("keys", "revoke", key_id).code == 0
    assert run("keys", "revoke", key_id).code == 0
    assert run("keys", "ls").said.split("\t")[4] == "revoked"
    assert "5 s" in run("keys", "revoke", key_id).complaint
    unknown = run("keys", "revoke", "key_nothing")
    assert (unknown.code, unknown.said) == (1, "")
    assert run("keys", "create", "--name", "x", "--owner", "me").code == 1
    assert run("keys", "create", "--name", "x", "--scope", "admin").code == 2
    for blank in ("", "  "):
        assert run("keys", "create", "--name", blank).code == 2


def test_a_key_that_expires(run: Callable[..., Ran], empty_database_url: str) -> None:
    run("migrate")
    for wrong in ("0", "-1", "1.5", "4000", "soon"):
        assert run("keys", "create", "--name", "x", "--expires-in-days", wrong).code == 2
    assert run("keys", "create", "--name", "short", "--expires-in-days", "30").code == 0
    (row,) = run("keys", "ls").said.splitlines()
    key_id, *_, state, _ = row.split("\t")
    until = datetime.strptime(state, "expires %Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(until - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)
    database = Database(empty_database_url)
    with database.write() as session:
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(expires_at=db_now(-1)))
    database.close()
    assert run("keys", "ls").said.split("\t")[4].startswith("expired ")


def test_keys_on_a_terminal_have_a_heading(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    run("migrate")
    run("keys", "create", "--name", "mine")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    heading, row = run("keys", "ls").said.splitlines()
    assert heading.split() == ["id", "owner", "scopes", "created", "state", "name"]
    for word, cell in (("owner", LOCAL_OWNER), ("state", "active"), ("name", "mine")):
        assert heading.index(word) == row.index(cell)


def test_a_later_revocation_does_not_move_the_first(database_url: str, tmp_path: Path) -> None:
    with make_app(database_url, tmp_path) as service:
        with service.database.write() as session:
            create_key(session, owner_id=LOCAL_OWNER, name="x", scopes=[], expires_in=timedelta(days=1))
        key_id = next(key.id for key in keys.list_all(service.database) if key.name == "x")
        keys.revoke(service.database, key_id)
        first = moment(service.database, key_id)
        keys.revoke(service.database, key_id)
        assert moment(service.database, key_id) == first


def moment(database: Database, key_id: str) -> object:
    with database.read() as session:
        return session.scalar(select(ApiKey.revoked_at).where(ApiKey.id == key_id))
