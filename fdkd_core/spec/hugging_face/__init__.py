"""Networks of the transformers package that a job may name: their specs, what they take, what they cost."""
