"""Many processes write one SQLite file (F16)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from service.db import Database

PROCESSES, WRITES = 16, 100
WRITER = """
import sys
from sqlalchemy import text
from service.db import Database
database = Database(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with database.write() as session:
        found = session.execute(text("SELECT value FROM counter")).scalar_one()
        session.execute(text("UPDATE counter SET value = :value"), {"value": found + 1})
"""


def test_sixteen_writers_lose_no_update_and_meet_no_lock(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'storm.db'}"
    database = Database(url)
    with database.write() as session:
        session.execute(text("CREATE TABLE counter (value INTEGER)"))
        session.execute(text("INSERT INTO counter VALUES (0)"))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(WRITES)], stderr=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    complaints = [writer.communicate(timeout=240)[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES, complaints
    with database.read() as session:
        assert session.execute(text("SELECT value FROM counter")).scalar_one() == PROCESSES * WRITES
    database.close()
