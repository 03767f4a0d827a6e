"""trace: a component's architecture, from its configuration alone, as a graph of ATen operations."""

from __future__ import annotations

from sdbuild.job import Artifact, stage


@stage(
    "trace",
    version=4,
    title="trace the architecture, without weights",
    tools=("torch", "diffusers", "transformers"),
)
class Trace:
    """``graph.json``. What does not apply to a component is None."""

    kind: str
    """Of the component."""
    config: Artifact
    """Its ``config.json``."""
    height: int | None = None
    """Of the image, in pixels."""
    width: int | None = None
    vae_factor: int | None = None
    vae_scale: float | None = None
    batch: int | None = None
    """Of the UNet."""
    tokens: int | None = None
    """Length of a prompt."""
