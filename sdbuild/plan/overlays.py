"""The plan's section on what is laid over weights."""

from __future__ import annotations

from sdbuild.overlay import Layer, Overlays
from sdbuild.plan.sourcing import Sourcing


def overlays(sourcing: Sourcing, component: str) -> Overlays:
    """What is laid over the weights of a component."""
    return _learned(sourcing, component)


def _learned(sourcing: Sourcing, component: str) -> Overlays:
    """The rows that learned embeddings add to the table of a text encoder: config reads them, for its shape depends on them."""
    if sourcing.embeddings is None or sourcing.scope.components[component].role != "text_encoder":
        return {}
    return {"embeddings": {"learned": Layer(files=sourcing.of(component, "rows.safetensors"))}}
