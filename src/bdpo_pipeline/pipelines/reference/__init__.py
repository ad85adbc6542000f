"""Pairs to token ids, reference log-probs, comprehension and coefficients."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
