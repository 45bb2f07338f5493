from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fdkd_core import bounded_folder
from fdkd_core.bounded_folder import BoundedFolder
from fdkd_core.errors import StorageError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def filled(folder: Path, max_bytes: int = 30) -> BoundedFolder:
    """Three files of ten bytes, `a` the oldest."""
    bounded = BoundedFolder(folder, max_bytes)
    for age, name in zip((30, 20, 10), "abc", strict=True):
        assert bounded.write(name, name.encode() * 10)
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    return bounded


def test_what_was_not_used_longest_goes_first(tmp_path: Path) -> None:
    bounded = filled(tmp_path / "folder")
    bounded.mark_used("a")
    bounded.write("d", b"d" * 10)
    assert names(bounded.path) == ["a", "c", "d"]
    bounded.write("e", b"e" * 11)
    assert names(bounded.path) == ["d", "e"], "one more byte takes one more file"
    assert (bounded.path / "d").read_bytes() == b"d" * 10


def test_a_file_that_is_replaced_makes_room_for_itself(tmp_path: Path) -> None:
    bounded = filled(tmp_path)
    bounded.write("b", b"B" * 10)
    assert names(tmp_path) == ["a", "b", "c"]
    assert (tmp_path / "b").read_bytes() == b"B" * 10


def test_a_file_larger_than_the_bound_costs_nobody_their_place(tmp_path: Path) -> None:
    bounded = filled(tmp_path)
    assert not bounded.write("large", b"x" * 31)
    assert names(tmp_path) == ["a", "b", "c"]
    assert bounded.write("all", b"x" * 30)
    assert names(tmp_path) == ["all"]


def test_a_reader_keeps_what_it_has_open(tmp_path: Path) -> None:
    bounded = filled(tmp_path)
    with (tmp_path / "a").open("rb", buffering=0) as reader:
        assert reader.read(4) == b"aaaa"
        bounded.write("all", b"x" * 30)
        assert names(tmp_path) == ["all"]
        assert reader.read() == b"aaaaaa"


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    bounded = filled(tmp_path)
    killed = (
        "import os, sys\nfrom pathlib import Path\nfrom fdkd_core.bounded_folder import BoundedFolder\n"
        "os.replace = lambda *_: os._exit(9)\n"  # between the last byte and the name
        "BoundedFolder(Path(sys.argv[1]), 30).write('d', b'd' * 10)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False).returncode == 9
    left = names(tmp_path)
    assert left[1:] == ["b", "c"], "room was made, nothing half appeared"
    assert left[0].endswith(".tmp")
    bounded.write("e", b"e" * 10)  # its lock went with it
    assert names(tmp_path) == ["b", "c", "e"]


def test_a_writer_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_folder, "LOCK_WAIT_S", 0.05)
    bounded = filled(tmp_path)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="held by another process"):
            bounded.write("d", b"d")
    finally:
        os.close(descriptor)
    assert names(tmp_path) == ["a", "b", "c"]


WRITER = """
import sys
from pathlib import Path
from fdkd_core.bounded_folder import BoundedFolder

folder, own = BoundedFolder(Path(sys.argv[1]), 1000), sys.argv[2]
for number in range(25):
    name = f"{own}-{number}"
    folder.write(name, name.encode().ljust(300, b"."))
    for path in folder.path.iterdir():  # of everybody's
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            continue
        if not path.name.endswith(".tmp"):
            assert found == path.name.encode().ljust(300, b"."), (path.name, found)
        folder.mark_used(path.name)
"""


def test_processes_that_write_at_once_stay_within_the_bound(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)]) for number in range(4)
    ]
    sizes = set()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    while any(writer.poll() is None for writer in writers):
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # while nobody writes
        sizes.add(sum(path.stat().st_size for path in tmp_path.iterdir()))
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(0.005)
    os.close(descriptor)
    assert [writer.wait() for writer in writers] == [0] * 4
    assert max(sizes) == 900, "room for three of 300 bytes"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 900
