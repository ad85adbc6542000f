"""The pipelines: each is a graph (`pipeline.py`) of thin nodes (`nodes.py`) with typed parameters (`parameters.py`)."""
