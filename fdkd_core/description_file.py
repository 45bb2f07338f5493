"""Where dataset.yaml lies, and how messages say so. Free of heavy packages: the client packs it too."""

from __future__ import annotations

from pathlib import Path

NAME = "dataset.yaml"
WHERE = f"{NAME}, which lies beside the manifest, or in one folder or zip with the .npz or .parquet"
"""For messages that send the reader there. A zip is what works both here and over the service."""
TABLE_SUFFIXES = (".npz", ".parquet", ".pq")
"""Of files that hold all rows and have no place for a description."""


def beside(path: Path) -> Path:
    """The `<stem>.dataset.yaml` that a file on its own may have beside it."""
    return path.with_name(f"{path.stem}.{NAME}")
