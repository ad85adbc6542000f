"""Arms by seeds: every arm tuned on the same grid, trained, evaluated and compared."""

from .pipeline import create_pipeline
from .report_pipeline import create_report_pipeline

__all__ = ["create_pipeline", "create_report_pipeline"]
