"""Measurements, each a command: ``python -m benchmarks.NAME``. None is a test."""
