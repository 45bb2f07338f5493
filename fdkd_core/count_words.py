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
