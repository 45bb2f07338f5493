"""A real HTTP server whose answers a test writes down: for what a healthy FDKD server never says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass
class Answer:
    """One answer. `chunks` are sent one by one; with `is_cut` the connection closes before the end."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterable[bytes] | None = None
    is_cut: bool = False


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


def problem(status: int, code: str, **members: Any) -> Answer:
    """An error as an FDKD server words it."""
    content = {"title": code, "status": status, "code": code, "detail": f"It is {code}.", **members}
    return Answer(status, content, {"Content-Type": "application/problem+json"})


class ScriptedServer:
    """Listens on 127.0.0.1:`port`. The last answer of each address is given for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: dict[tuple[str, str], list[Answer]] = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._serve(self)

            do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - named by the standard library

            def log_message(self, *_: object) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that goes away is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Writes down what is answered to the first request, the second, and so on."""
        self._answers[method, path] = list(answers)

    def count(self, method: str, path: str) -> int:
        """How often that was asked."""
        return sum(request.method == method and request.path == path for request in self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self.requests.append(Request(handler.command, parts.path, parts.query, headers, body))
            script = self._answers.get((handler.command, parts.path), [problem(404, "not_found")])
            answer = script.pop(0) if len(script) > 1 else script[0]
        self._send(handler, answer)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        if answer.status == 0:  # not a word
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        headers = {"Content-Type": "application/json", **answer.headers}
        if answer.chunks is None and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(raw) if answer.body is not None else 0)
        if answer.chunks is not None:
            headers["Transfer-Encoding"] = "chunked"
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if answer.chunks is not None:
            for chunk in answer.chunks:
                handler.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                handler.wfile.flush()
            if not answer.is_cut:
                handler.wfile.write(b"0\r\n\r\n")
        elif answer.body is not None:
            handler.wfile.write(raw)
        if answer.is_cut:
            handler.close_connection = True
