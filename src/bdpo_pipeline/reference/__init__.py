"""The reference model on the pairs: token ids, log-probs, comprehension and coefficients."""
