from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.settings import Settings


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("fdkd.example", ["fdkd.example"]),
        ("localhost, fdkd.example,", ["localhost", "fdkd.example"]),
        ("[::1]", ["[::1]"]),
        ("*", ["*"]),
        ('["localhost", "fdkd.example"]', ["localhost", "fdkd.example"]),
        ("", ["localhost", "127.0.0.1", "[::1]"]),  # as a compose file passes on what nobody chose
    ],
)
def test_hosts_are_listed_as_people_write_them(
    text: str, hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDKD_ALLOWED_HOSTS", text)
    assert Settings().allowed_hosts == hosts


@pytest.mark.parametrize("text", ['["localhost"', '{"a": 1}', "7"])
def test_what_is_no_list_is_refused_by_its_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDKD_ALLOWED_HOSTS", text)
    with pytest.raises(ValidationError, match="allowed_hosts"):
        Settings()


@pytest.mark.parametrize("name", ["FDKD_DATABASE_URL", "FDKD_TRAINER_THREADS", "FDKD_TRAINER_COMMAND"])
def test_an_empty_variable_is_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    unset = Settings()
    monkeypatch.setenv(name, "")
    assert Settings() == unset
