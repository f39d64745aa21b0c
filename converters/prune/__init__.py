"""Pruning: which weights of a matrix go under a pattern, and what those that stay can make good. NumPy only."""
