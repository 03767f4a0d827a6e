"""Prove artifacts against PyTorch: every component and stage on realistic inputs, and the whole pipeline's image."""
