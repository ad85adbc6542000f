"""Judges trained and measured on labelled responses."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
