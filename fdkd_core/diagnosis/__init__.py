"""The kind `diagnose`: what a few hundred pairs tell before a job is paid for. See docs/diagnosis.md."""
