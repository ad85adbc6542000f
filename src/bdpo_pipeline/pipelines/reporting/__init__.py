"""Everything to a report page and a model card."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
