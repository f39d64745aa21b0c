"""Weights that do not fit: read from the file ahead of their use, again and again, into memory of a fixed size."""
