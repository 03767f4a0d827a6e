"""sdbuild: YAML recipes in, Stable Diffusion bundles for Apple devices out."""

__version__ = "0.1.0"
