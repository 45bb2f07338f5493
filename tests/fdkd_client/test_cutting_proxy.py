"""The proxy that other tests cut connections with does what it says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from cutting_proxy import CuttingProxy


class Echo:
    """Answers each block with itself in upper case, and remembers what it got."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.received = bytearray()
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.answer, args=(connection,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while block := connection.recv(1 << 16):
                    self.received += block
                    connection.sendall(block.upper())
            except OSError:
                pass

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(5)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def ask(port: int, text: bytes, connection: socket.socket | None = None) -> bytes:
    """What came back until as much as was sent, or until the end."""
    opened = connection or socket.create_connection(("127.0.0.1", port), 5)
    opened.settimeout(5)
    try:
        opened.sendall(text)
        reply = b""
        while len(reply) < len(text) and (block := opened.recv(1 << 16)):
            reply += block
        return reply
    finally:
        if connection is None:
            opened.close()


def test_forwards(echo: Echo) -> None:
    with CuttingProxy(echo.port) as proxy:
        assert ask(proxy.port, b"a" * 100_000) == b"A" * 100_000
        assert (proxy.fired, proxy.num_connections) == (0, 1)
        assert proxy.bytes_to_server == proxy.bytes_to_client == 100_000


def test_drops_the_reply_to_one_kind_of_request(echo: Echo) -> None:
    with CuttingProxy(echo.port) as proxy:
        proxy.drop_replies(2, to=b"post")
        assert ask(proxy.port, b"get /") == b"GET /"
        assert ask(proxy.port, b"post /") == b""
        assert ask(proxy.port, b"post /") == b""
        assert ask(proxy.port, b"post /") == b"POST /"
        assert proxy.fired == 2
    assert bytes(echo.received) == b"get /post /post /post /"


def test_drops_on_a_connection_that_was_open_before(echo: Echo) -> None:
    with CuttingProxy(echo.port) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as kept:
        assert ask(0, b"one", kept) == b"ONE"
        proxy.drop_replies()
        assert ask(0, b"two", kept) == b""
        assert proxy.fired == 1


@pytest.mark.parametrize("size", [1, 1000, 60_000])
def test_cuts_replies_after_exactly_so_many_bytes(echo: Echo, size: int) -> None:
    with CuttingProxy(echo.port) as proxy:
        proxy.cut_replies(size, times=2)
        assert len(ask(proxy.port, b"x" * 70_000)) == size
        assert len(ask(proxy.port, b"x" * 70_000)) == size
        assert len(ask(proxy.port, b"x" * 70_000)) == 70_000
        assert proxy.fired == 2


def test_cuts_requests_after_exactly_so_many_bytes(echo: Echo) -> None:
    with CuttingProxy(echo.port) as proxy:
        proxy.cut_requests(2500)
        assert len(ask(proxy.port, b"x" * 10_000)) <= 2500
        assert proxy.fired == 1
        assert proxy.bytes_to_server == 2500


def test_holds_and_releases(echo: Echo) -> None:
    with CuttingProxy(echo.port) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as opened:
        proxy.hold()
        opened.sendall(b"late")
        opened.settimeout(0.3)
        with pytest.raises(TimeoutError):
            opened.recv(10)
        assert proxy.fired == 1
        assert not echo.received
        proxy.release()
        opened.settimeout(5)
        assert opened.recv(10) == b"LATE"


def test_refuses_and_cuts_all(echo: Echo) -> None:
    with CuttingProxy(echo.port) as proxy:
        proxy.refuse(1)
        with contextlib.suppress(ConnectionError):
            assert ask(proxy.port, b"no") == b""
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as opened:
            assert ask(0, b"yes", opened) == b"YES"
            proxy.cut_all()
            assert opened.recv(10) == b""
        assert proxy.fired == 2


def test_resets_where_asked(echo: Echo) -> None:
    with CuttingProxy(echo.port, reset=True) as proxy:
        proxy.drop_replies()
        with pytest.raises(ConnectionResetError):
            ask(proxy.port, b"bye")
        assert proxy.fired == 1


def test_a_server_that_is_gone_closes_the_connection(echo: Echo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with CuttingProxy(port) as proxy:
        with contextlib.suppress(ConnectionError):
            assert ask(proxy.port, b"anyone") == b""
