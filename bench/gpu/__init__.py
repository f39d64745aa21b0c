"""Benchmarks of the OpenCL path."""
