"""A load generator of its own process: N keep-alive connections, each sends its next request when answered.

    python benchmarks/service/load.py --url http://127.0.0.1:8000/v1/jobs --connections 16 --seconds 5 < request.json

stdin: `{"method", "headers", "body"?, "paths"?}`; `paths` are taken in turn. stdout: one JSON line with requests per
second, the latencies and the number of answers by status.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit


class Load:
    """Sends and times requests until the time is over or enough were answered."""

    def __init__(self, url: str, request: dict[str, Any], *, seconds: float, requests: int | None) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        body = request.get("body", "").encode()
        paths = request.get("paths") or [parts.path + (f"?{parts.query}" if parts.query else "")]
        lines = [f"Host: {self.host}:{self.port}", *(f"{k}: {v}" for k, v in request["headers"].items())]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines)
        self.requests = itertools.cycle(
            f"{request['method']} {path} HTTP/1.1\r\n{head}\r\n\r\n".encode() + body for path in paths
        )
        self.seconds = seconds
        self.left = requests
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.locations: list[str] = []

    async def run(self, connections: int) -> dict[str, Any]:
        """The figures of one run."""
        started = time.perf_counter()
        await asyncio.gather(*(self._connection(started) for _ in range(connections)))
        elapsed = time.perf_counter() - started
        ordered = sorted(self.latencies)
        return {
            "requests": len(ordered),
            "rps": len(ordered) / elapsed,
            "p50_ms": 1000 * statistics.median(ordered),
            "p95_ms": 1000 * ordered[int(0.95 * (len(ordered) - 1))],
            "p99_ms": 1000 * ordered[int(0.99 * (len(ordered) - 1))],
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "locations": self.locations,
        }

    async def _connection(self, started: float) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            while time.perf_counter() - started < self.seconds:
                if self.left is not None:
                    if self.left <= 0:
                        return
                    self.left -= 1
                sent = time.perf_counter()
                writer.write(next(self.requests))
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
                await reader.readexactly(int(fields.get("content-length", 0)))
                self.latencies.append(time.perf_counter() - sent)
                self.statuses[int(head.split(" ", 2)[1])] += 1
                if "location" in fields:
                    self.locations.append(fields["location"])
        finally:
            writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--requests", type=int, help="stop after so many, whatever the time")
    options = parser.parse_args()
    load = Load(options.url, json.load(sys.stdin), seconds=options.seconds, requests=options.requests)
    print(json.dumps(asyncio.run(load.run(options.connections))))


if __name__ == "__main__":
    main()
