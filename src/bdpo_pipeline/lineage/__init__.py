"""Fingerprints, tracking, and how an artifact is traced to its origin."""
