"""Loading base models, applying adapters, fingerprints of weights."""
