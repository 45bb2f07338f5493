"""Folders of the Hugging Face hub, read and made into bundles."""
