"""The plan's section on architectures: what is traced, whatever the weights and the format."""

from __future__ import annotations

from sdbuild.jobs.trace import Image, Trace
from sdbuild.plan.graph import Node
from sdbuild.plan.sourcing import Sourcing


def trace(sourcing: Sourcing, component: str) -> Node:
    """The graph of a component."""
    scope = sourcing.scope
    recipe, own, sizes = scope.recipe, scope.components[component], scope.sizes
    image = Image(height=sizes.height, width=sizes.width, vae_factor=sizes.vae_factor)
    job = Trace(
        kind=own.kind,
        options=recipe.options(component),
        inputs=tuple(recipe.shape(component, port) for port in own.inputs),
        config=sourcing.of(component, "config.json"),
        image=image if own.role == "denoiser" else None,
    )
    return scope.node(job, component)
