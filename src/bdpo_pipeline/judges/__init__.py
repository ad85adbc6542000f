"""Who judges a response. A new one: a module with `build(**options)`, an entry under `judging.judges`."""
