"""The kinds of modality. Adding one: a file with a class like `VectorKind`, and a line here."""

from __future__ import annotations

from fdkd_core.modalities.audio import AudioKind
from fdkd_core.modalities.base import Kind, Recipe
from fdkd_core.modalities.depth import DepthKind
from fdkd_core.modalities.image import ImageKind
from fdkd_core.modalities.map import MapKind
from fdkd_core.modalities.series import SeriesKind
from fdkd_core.modalities.sound_extractors import FilterBankKind, WaveformKind
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
    "map": MapKind(),
}

IMPORTED: dict[tuple[KindName, str], Kind] = {
    (kind.name, kind.version): kind for kind in (FilterBankKind(), WaveformKind())
}
"""Other ways to prepare a kind, by kind and the recipe's version. They come with models from elsewhere."""


def kind_of(recipe: Recipe) -> Kind:
    """What prepares values by a recipe, whose `kind` is one of `KINDS`."""
    return IMPORTED.get((recipe["kind"], recipe.get("version", "")), KINDS[recipe["kind"]])
