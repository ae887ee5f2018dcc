"""Benchmarks: each runs a peer and this project in turn and prints the ratio."""
