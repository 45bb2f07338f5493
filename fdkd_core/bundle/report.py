"""The report on a bundle, as `fdkd_core.validate` gives it, without torch."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fdkd_core.bundle.folder import Bundle
from fdkd_core.spec.catalogue import data_dimensions
from fdkd_core.spec.cost import parameters


def bundle_report(bundle: Bundle) -> dict[str, Any]:
    """What a checked bundle takes and knows; its weights are not read."""
    config = bundle.config
    size = (config.architecture, config.input_shape, config.num_classes, config.vocab_size)
    return {
        "format": "bundle",
        "modality_kind": bundle.preprocessor.kind.name,
        "input_shape": list(config.input_shape),
        "vocab_size": config.vocab_size,
        "source_channels": bundle.recipe.get("source_channels"),
        "shortest_edge": bundle.recipe.get("shortest_edge"),
        "task": config.task.kind,
        "classes": bundle.classes,
        "parameters": parameters(*size),
        "architecture": config.architecture.model_dump(mode="json"),
        "dimensions": data_dimensions(*size),
        "preprocessing_sha256": hashlib.sha256(
            json.dumps(bundle.recipe, sort_keys=True).encode()
        ).hexdigest(),
        "notes": bundle.recipe["notes"],
    }
