"""The bundle: a folder with a model and all that is needed to run it. Importing it brings no torch."""

from fdkd_core.bundle.card import ModelCard
from fdkd_core.bundle.folder import Bundle, load_bundle
from fdkd_core.bundle.write import BundleSummary, write_bundle

__all__ = ["Bundle", "BundleSummary", "ModelCard", "load_bundle", "write_bundle"]
