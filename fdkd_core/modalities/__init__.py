"""The kinds of modality. Adding one: a file with a class like `VectorKind`, and a line here."""

from __future__ import annotations

from fdkd_core.modalities.audio import AudioKind
from fdkd_core.modalities.base import Kind
from fdkd_core.modalities.depth import DepthKind
from fdkd_core.modalities.image import ImageKind
from fdkd_core.modalities.series import SeriesKind
from fdkd_core.modalities.text import TextKind
from fdkd_core.modalities.vector import VectorKind
from fdkd_core.spec.catalogue import KindName

KINDS: dict[KindName, Kind] = {
    "image": ImageKind(),
    "depth": DepthKind(),
    "audio": AudioKind(),
    "text": TextKind(),
    "series": SeriesKind(),
    "vector": VectorKind(),
}
