"""Accuracy of slice models on folders of 8-bit slices with masks: ``python -m benchmarks.accuracy``."""
