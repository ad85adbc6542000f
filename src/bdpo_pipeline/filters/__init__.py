"""Which pairs are used, and why the others are not."""
