"""The reference log-prob store."""
