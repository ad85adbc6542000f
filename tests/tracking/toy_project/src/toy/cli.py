from bdpo_pipeline.cli import cli

__all__ = ["cli"]
