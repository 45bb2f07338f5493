"""What `measure.py` found, as a page: the API beside a bare endpoint, and where it was measured."""

from __future__ import annotations

import os
import platform
import statistics
import time
from importlib.metadata import version
from typing import Any


def _pick(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _median(rows: list[dict[str, Any]], name: str) -> float:
    return statistics.median(float(row[name]) for row in rows)


def report(rows: list[dict[str, Any]], command: str) -> str:
    """The figures beside what was asked of them."""
    lines = ["# The API beside a bare endpoint", "", f"`{command}`", "", machine(), ""]
    lines += [
        "Medians over the rounds; `service / bare` is the median of the ratios within a round.", "",
        "| database | request | connections | service rps | bare rps | service / bare | service p95 ms | bare p95 ms |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for kind in ("sqlite", "postgresql"):
        for what in ("create", "status"):
            for connections in (16, 4):
                ours = _pick(rows, database=kind, what=what, connections=connections, who="service")
                bare = _pick(rows, database=kind, what=what, connections=connections, who="bare")
                if not ours:
                    continue
                ratio = statistics.median(a["rps"] / b["rps"] for a, b in zip(ours, bare, strict=True))
                lines.append(
                    f"| {kind} | {what} | {connections} | {_median(ours, 'rps'):.0f} | {_median(bare, 'rps'):.0f} "
                    f"| {ratio:.2f} | {_median(ours, 'p95_ms'):.1f} | {_median(bare, 'p95_ms'):.1f} |"
                )
    lines += ["", "| database | what | p50 ms | p95 ms |", "|---|---|---|---|"]
    for row in rows:
        if row["what"] not in ("create", "status"):
            lines.append(f"| {row['database']} | {row['what']} | {row['p50_ms']:.1f} | {row['p95_ms']:.1f} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Where this was measured."""
    packages = ("fastapi", "uvicorn", "sqlalchemy", "psycopg", "pydantic")
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
        + f"; load average at the end {os.getloadavg()[0]:.1f}; {time.strftime('%Y-%m-%d')}"
    )
