"""Raw preference files and hub data to canonical pairs; malformed rows to quarantine."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
