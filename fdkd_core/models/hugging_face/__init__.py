"""Networks of the transformers package behind the interface of ours; the builders import the package."""
