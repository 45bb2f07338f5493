from __future__ import annotations

import pytest
from bundle_samples import Bundles, make_bundle

from fdkd_core.bundle.write import BundleSummary
from fdkd_core.modalities.base import RawValue
from fdkd_core.spec.catalogue import KindName


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """A bundle with ONNX per kind, made when first asked for: an export takes seconds."""
    made: dict[KindName, tuple[BundleSummary, list[RawValue]]] = {}

    def get(kind: KindName) -> tuple[BundleSummary, list[RawValue]]:
        if kind not in made:
            made[kind] = make_bundle(tmp_path_factory.mktemp("bundles") / kind, kind)
        return made[kind]

    return get
