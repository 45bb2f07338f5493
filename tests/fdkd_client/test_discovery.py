"""Which server is found, and which key goes where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fdkd_client import ConfigurationError, NoServerError
from fdkd_client.discovery import config_path, find_server, local_server_path

URL = "http://127.0.0.1:8123"


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def write_local(pid: int, url: str = URL, mode: int = 0o600) -> None:
    write(local_server_path(), json.dumps({"url": url, "api_key": "local-key", "pid": pid}), mode)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_nothing_is_named() -> None:
    with pytest.raises(NoServerError, match="fdkd serve"):
        find_server()


def test_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    write_local(os.getpid())
    assert (find_server().url, find_server().api_key) == (URL, "local-key")
    write(config_path(), 'url = "https://fdkd.example/"\napi_key = "config-key"\n')
    assert (find_server().url, find_server().api_key) == ("https://fdkd.example", "config-key")
    monkeypatch.setenv("FDKD_URL", "http://other:1")
    monkeypatch.setenv("FDKD_API_KEY", "env-key")
    assert (find_server().url, find_server().api_key) == ("http://other:1", "env-key")
    found = find_server("http://given:2", "given-key")
    assert (found.url, found.api_key) == ("http://given:2", "given-key")


def test_a_stored_key_goes_to_its_own_server_only(monkeypatch: pytest.MonkeyPatch) -> None:
    write_local(os.getpid())
    write(config_path(), 'url = "https://fdkd.example"\napi_key = "config-key"\n')
    assert find_server("https://evil.example").api_key is None
    assert find_server("https://fdkd.example/").api_key == "config-key"
    monkeypatch.setenv("FDKD_URL", URL)
    assert find_server().api_key == "local-key"


def test_a_key_from_the_environment_with_a_stored_url(monkeypatch: pytest.MonkeyPatch) -> None:
    write(config_path(), 'url = "https://fdkd.example"\n', mode=0o644)
    monkeypatch.setenv("FDKD_API_KEY", "env-key")
    assert (find_server().url, find_server().api_key) == ("https://fdkd.example", "env-key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666])
def test_a_key_that_others_can_read_is_refused(mode: int) -> None:
    write(config_path(), 'url = "https://fdkd.example"\napi_key = "secret-key"\n', mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {config_path()}") as caught:
        find_server()
    assert "secret-key" not in str(caught.value)
    config_path().unlink()
    write_local(os.getpid(), mode=mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        find_server()


def test_a_local_server_that_is_gone_is_ignored() -> None:
    write_local(dead_pid())
    with pytest.raises(NoServerError):
        find_server()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "http://x"}', '{"url": "http://x", "pid": "x"}'])
def test_a_note_half_written_is_ignored(text: str) -> None:
    write(local_server_path(), text)
    with pytest.raises(NoServerError):
        find_server()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("url = ", "not valid TOML"),
        ('api_key = "k"\n', "must have `url`"),
        ("url = 7\n", "must have `url`"),
        ('url = "http://x"\napi_key = 7\n', "both text"),
        ('url = "http://x"\ntoken = "k"\n', "unknown settings: token"),
        ('url = "x"\n', "must look like"),
    ],
)
def test_a_config_that_is_wrong_says_how(text: str, says: str) -> None:
    write(config_path(), text)
    with pytest.raises(ConfigurationError, match=says):
        find_server()


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://x", "http://", "http://u:p@x", "http://x?q", "http://x#f", "http://x:99999", "//x"],
)
def test_addresses_that_are_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDKD_URL", url)
    with pytest.raises((ConfigurationError, NoServerError)):
        find_server()


def test_the_key_is_not_shown() -> None:
    assert "given-key" not in repr(find_server("http://x", "given-key"))
