"""Words as numbers and sentences have them, for core and client."""

from __future__ import annotations


def count(number: int, one: str, many: str | None = None) -> str:
    """Such as `1 row`, `900 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def begin(words: str) -> str:
    """Words at the beginning of a sentence: `Accuracy`, `Macro-F1`; a name like mIoU stays as it is."""
    return words if words[1:2].isupper() else words[:1].upper() + words[1:]


def size(num_bytes: float) -> str:
    """Such as `1.4 MB`, in decimal units, as the Hub and disks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" or num_bytes >= 100 else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """Such as 42s, 3m 10s, 2h 05m, 3d 4h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"
