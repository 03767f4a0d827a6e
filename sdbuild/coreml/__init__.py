"""Core ML packages: written, rewritten, divided, compiled and run, on any system."""
