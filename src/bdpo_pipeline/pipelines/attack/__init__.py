"""White-box attacks on the base model and the adapter: suffixes searched by their gradients, and what is answered to them."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
