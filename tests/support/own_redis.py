"""A Redis server that a test may kill."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import redis


@dataclass
class OwnRedis:
    """A server of one's own, which keeps nothing on disk."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def on_a_free_port(cls) -> Iterator[OwnRedis]:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            server = cls(free.getsockname()[1])
        server.start()
        try:
            yield server
        finally:
            server.kill()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        with closing(redis.Redis(port=self.port)) as client:
            deadline = time.monotonic() + 10
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
