"""What made a result: the versions of Python and of the libraries that can change it."""

from __future__ import annotations

import importlib.metadata
import platform

_LIBRARIES = (
    "fdkd",
    "torch",
    "numpy",
    "safetensors",
    "onnx",
    "onnxruntime",
    "pillow",
    "soundfile",
    "tokenizers",
)


def library_versions() -> dict[str, str]:
    """Version by name, for those that are installed."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
