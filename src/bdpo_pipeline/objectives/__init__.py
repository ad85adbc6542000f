"""Pure tensor maths: one small function per objective, comprehension and weighting. Imports torch only."""
