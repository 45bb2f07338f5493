"""A TCP proxy that spoils connections on demand: drops replies, cuts after so many bytes, stops forwarding.

    with CuttingProxy(port=server_port) as proxy:
        proxy.drop_replies(times=3, to=b"POST /v1/jobs")
        ...                               # talk to 127.0.0.1:proxy.port
        assert proxy.fired == 3           # a fault that never happened proves nothing

It knows no protocol, so that it may stand before HTTP, PostgreSQL or Redis. It runs in a thread of its own;
every method may be called from the test's thread at any time, and rules act on connections already open too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

_BLOCK = 1 << 14


@dataclass
class _Cut:
    """Lets `after_bytes` more bytes of one direction pass, then cuts the connection they were on."""

    after_bytes: int
    times: int
    passed: int = 0

    def admit(self, block: bytes) -> bytes | None:
        """The part of a block that may pass when this is where the cut falls; None where all of it may."""
        if self.times == 0:
            return None
        left = self.after_bytes - self.passed
        if len(block) < left:
            self.passed += len(block)
            return None
        self.passed = 0
        self.times -= 1
        return block[:left]


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    reply_dropped: bool = False
    is_cut: asyncio.Event = field(default_factory=asyncio.Event)

    def writers(self) -> list[asyncio.StreamWriter]:
        return [writer for writer in (self.client, self.server) if writer is not None]


class CuttingProxy:
    """Forwards 127.0.0.1:`port` to a server until it is told to misbehave."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, reset: bool = False) -> None:
        """Args: port, host: of the server behind. reset: cut with RST, which may destroy bytes on the way."""
        self.port = 0
        """Where the proxy listens."""
        self.fired = 0
        """Faults injected so far: replies dropped, connections cut or refused, blocks held back."""
        self.num_connections = 0
        """How many connections were made to the proxy so far."""
        self.bytes_to_server = 0
        self.bytes_to_client = 0
        self._target = (host, port)
        self._reset = reset
        self._requests = _Cut(0, 0)
        self._replies = _Cut(0, 0)
        self._drops = 0
        self._drop_to = b""
        self._refusals = 0
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="cutting-proxy", daemon=True)
        self._listening = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(10):
            raise RuntimeError("the proxy does not listen")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy does not end"

    def drop_replies(self, times: int = 1, *, to: bytes = b"") -> None:
        """Cuts when the reply begins to arrive: the request was served, and nobody hears of it.

        Args:
            times: How often.
            to: Only replies to requests that hold these bytes, such as `b"POST /v1/jobs"`.
        """
        self._call(lambda: self._set_drops(times, to))

    def cut_requests(self, after_bytes: int, times: int = 1) -> None:
        """Cuts after so many more bytes from clients to the server, whichever connections they are on."""
        self._call(lambda: setattr(self, "_requests", _Cut(after_bytes, times)))

    def cut_replies(self, after_bytes: int, times: int = 1) -> None:
        """Cuts after so many more bytes from the server to clients, whichever connections they are on."""
        self._call(lambda: setattr(self, "_replies", _Cut(after_bytes, times)))

    def refuse(self, times: int) -> None:
        """Closes the next connections at once."""
        self._call(lambda: setattr(self, "_refusals", times))

    def cut_all(self) -> None:
        """Cuts every connection there is."""
        self._call(self._cut_all)

    def hold(self) -> None:
        """Stops forwarding, both ways, without a word: a half-open connection. Bytes are kept back."""
        self._call(lambda: self._flowing.clear())

    def release(self) -> None:
        """Forwards again, beginning with what was kept back."""
        self._call(lambda: self._flowing.set())

    def _call(self, action: Callable[[], None]) -> None:
        """Runs it in the proxy's thread and waits: a rule is in force when the call returns."""
        done = threading.Event()

        def run() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10), "the proxy does not answer"

    def _set_drops(self, times: int, to: bytes) -> None:
        self._drops, self._drop_to = times, to

    def _cut_all(self) -> None:
        for connection in self._connections:
            self.fired += 1
            connection.is_cut.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        server = await asyncio.start_server(self._accepted, sock=listener)
        self._listening.set()
        await self._end.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        connection = _Connection(to_client)
        self._connections.add(connection)
        try:
            if self._refusals:
                self._refusals -= 1
                self.fired += 1
                return
            from_server, connection.server = await asyncio.open_connection(*self._target)
            await self._forward_until_cut(connection, from_client, from_server)
        except OSError:
            pass  # the server behind is gone: the client sees its connection close
        finally:
            self._connections.discard(connection)
            await self._close(connection)

    async def _forward_until_cut(
        self, connection: _Connection, from_client: asyncio.StreamReader, from_server: asyncio.StreamReader
    ) -> None:
        assert connection.server is not None
        flows = {
            asyncio.ensure_future(self._send_requests(connection, from_client)),
            asyncio.ensure_future(self._send_replies(connection, from_server)),
        }
        cut = asyncio.ensure_future(connection.is_cut.wait())
        try:
            # Either side may close its half first and still read; only both ends, or a cut, end it.
            while flows and not cut.done():
                done, _ = await asyncio.wait({*flows, cut}, return_when=asyncio.FIRST_COMPLETED)
                flows -= done
        finally:
            for task in (*flows, cut):
                task.cancel()
            await asyncio.gather(*flows, cut, return_exceptions=True)

    async def _send_requests(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        assert connection.server is not None
        tail = b""
        while block := await self._read(reader, connection):
            if self._drops and self._drop_to in tail + block:
                connection.reply_dropped = True
            tail = (tail + block)[-256:]
            admitted = self._requests.admit(block)
            self.bytes_to_server += len(block if admitted is None else admitted)
            await self._write(connection.server, block if admitted is None else admitted)
            if admitted is not None:
                self.fired += 1
                connection.is_cut.set()
                return
        if connection.server.can_write_eof():
            with contextlib.suppress(OSError):
                connection.server.write_eof()

    async def _send_replies(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        while block := await self._read(reader, connection):
            if connection.reply_dropped and self._drops:
                self._drops -= 1
                self.fired += 1
                connection.is_cut.set()
                return
            connection.reply_dropped = False
            admitted = self._replies.admit(block)
            self.bytes_to_client += len(block if admitted is None else admitted)
            await self._write(connection.client, block if admitted is None else admitted)
            if admitted is not None:
                self.fired += 1
                connection.is_cut.set()
                return
        connection.is_cut.set()

    async def _read(self, reader: asyncio.StreamReader, connection: _Connection) -> bytes:
        try:
            block = await reader.read(_BLOCK)
        except OSError:
            connection.is_cut.set()
            return b""
        if not self._flowing.is_set():
            self.fired += 1
            await self._flowing.wait()
        return block

    async def _write(self, writer: asyncio.StreamWriter, block: bytes) -> None:
        with contextlib.suppress(OSError):
            writer.write(block)
            await writer.drain()

    async def _close(self, connection: _Connection) -> None:
        for writer in connection.writers():
            if self._reset:
                opened: socket.socket | None = writer.get_extra_info("socket")
                if opened is not None:
                    with contextlib.suppress(OSError):
                        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
