"""Weights larger than RAM: a large model of random weights, and runtimes side by side in memory control groups."""
