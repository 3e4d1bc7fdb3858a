"""Measurements: ``python -m benchmarks.<name>``. Results that are quoted lie in ``benchmarks/results``."""
