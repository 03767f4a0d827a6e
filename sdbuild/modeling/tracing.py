"""Trace a component with ``torch.export``; which of the module's parameters the graph takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sdbuild.errors import SourceError, in_brief, tells_of_no_memory
from sdbuild.modeling.graph_file import Traced, write_graph

if TYPE_CHECKING:  # to read a graph takes none of the libraries that make components
    from sdbuild.modeling.components import Component

PREFIX = "model."
"""Under this name each component holds its model; the rest of a parameter's name is the checkpoint's."""


def trace(component: Component, path: Path) -> int:
    """Trace without weights and write the graph to ``path`` (see `graph_file`); returns the number of nodes.

    The graph refers to parameters by name; what depends on this machine or checkout is left out, so that the file depends on
    the architecture alone.

    Raises:
        UserError: layers whose shapes do not fit each other.
    """
    try:
        with torch.no_grad():
            exported = torch.export.export(component.module, component.arguments, strict=False)
    except RuntimeError as error:  # of shapes that do not fit each other
        if tells_of_no_memory(str(error)):
            raise
        raise SourceError(
            f"trace: a model of this config.json can't be run: {in_brief(error)}; name another source or, if the library "
            "draws with it, report a fault of sdbuild"
        ) from error
    write_graph(exported, path)
    return len(exported.graph.nodes)


def parameters_of(traced: Traced, prefix: str) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """The shape of each parameter of the module that was traced, by name without ``prefix``, and the names of those that the
    graph uses: a VAE's halves are traced with the whole VAE at hand.
    """
    lifted = {spec.arg.name: spec.target for spec in traced.graph_signature.input_specs if spec.target}
    used = {
        lifted[node.name]
        for node in traced.graph.nodes
        if node.op == "placeholder" and node.name in lifted and node.users
    }
    shapes = {name.removeprefix(prefix): shape for name, shape in traced.parameters.items()}
    return shapes, {bare for name in used if (bare := name.removeprefix(prefix)) in shapes}
