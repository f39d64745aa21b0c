"""Benchmarks: edgert beside its peers, alternating in one run, with the raw numbers kept as JSON in results/."""
