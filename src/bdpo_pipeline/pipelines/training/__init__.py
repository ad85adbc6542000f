"""Pairs and reference to an adapter and its training history."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
