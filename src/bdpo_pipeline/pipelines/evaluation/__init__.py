"""The adapter on what it never saw: held-out pairs and safety prompts."""

from .pipeline import create_judging_pipeline, create_pipeline

__all__ = ["create_judging_pipeline", "create_pipeline"]
