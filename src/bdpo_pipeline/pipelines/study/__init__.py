"""Arms by seeds: every arm tuned on the same grid, trained, evaluated and compared."""
