"""trace: a component's architecture, from its configuration alone, as a graph of ATen operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sdbuild.job import Artifact, stage


@dataclass(frozen=True, kw_only=True)
class Image:
    """The size of an image."""

    height: int
    """In pixels."""
    width: int
    vae_factor: int
    """Pixels for one latent pixel, along each side."""


@stage(
    "trace",
    version=4,
    title="trace the architecture, without weights",
    tools=("torch", "diffusers", "transformers"),
    uses=lambda job: (f"modeling.components.{job.kind}",),
)
class Trace:
    """``graph.json``."""

    kind: str
    """Of the component."""
    options: dict[str, Any]
    """Of the kind."""
    inputs: tuple[tuple[int | str, ...], ...]
    """Shapes of its ports: sizes, and the names of those that the configuration tells."""
    config: Artifact
    """Its ``config.json``."""
    image: Image | None = None
    """What a denoiser's latent image becomes, to be compared with its configuration."""
