"""General ability before and after training."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
