"""The base model, prepared once: found, dequantised if need be, fingerprinted."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
