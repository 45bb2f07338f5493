from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.server_secret import derive_key, load_secret


def test_the_secret_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    secret = load_secret(tmp_path)
    assert len(secret) == 32
    assert load_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_processes_that_start_together_read_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: load_secret(tmp_path), range(64)))
    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_file_that_was_cut_off_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(ValueError, match="5 bytes"):
        load_secret(tmp_path)


def test_keys_of_different_purposes_differ() -> None:
    keys = {
        derive_key(b"s" * 32, *purpose)
        for purpose in (("a",), ("a", "b"), ("ab",), ("a", "b", ""), ("", "ab"))
    }
    assert len(keys) == 5
    assert derive_key(b"s" * 32, "a") != derive_key(b"t" * 32, "a")
