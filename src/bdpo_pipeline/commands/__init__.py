"""Command groups of the project."""
