"""Benchmarks: edgert beside its peers, alternating in one run, raw numbers kept as JSON. Needs `.[test]` and the peers."""
