"""Compression as arithmetic: arrays in, smaller arrays out, nothing of any file format."""
