"""Canonical pairs to training, validation and held-out pairs, with a funnel of what was dropped and why."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
