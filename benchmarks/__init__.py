"""Benchmarks: each prints RESULT lines and writes its figures as JSON."""
