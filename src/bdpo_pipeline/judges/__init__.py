"""Who judges a response."""
