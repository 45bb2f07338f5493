"""The networks a job may name, each giving features and logits in one forward."""

from fdkd_core.models.base import Backbone, ModelOutput
from fdkd_core.models.registry import ARCHITECTURES, build_model

__all__ = ["ARCHITECTURES", "Backbone", "ModelOutput", "build_model"]
