"""Runs in MLflow: what happened, wherever it is looked at."""
