"""Trace a component with ``torch.export``, and keep the program as a file of the same bytes each time."""

from pathlib import Path

import torch

from sdbuild.errors import UserError, tells_of_no_memory
from sdbuild.modeling.components import Component
from sdbuild.modeling.library import one_line


def trace(component: Component, path: Path) -> int:
    """Trace without weights and save to ``path`` (``.pt2``); returns the number of nodes.

    The program refers to parameters by name; what depends on this machine or checkout (stack traces, module objects'
    sources) is left out, so that the file depends on the architecture alone.

    Raises:
        UserError: layers whose shapes do not fit each other.
    """
    try:
        with torch.no_grad():
            exported = torch.export.export(component.module, component.arguments, strict=False)
    except RuntimeError as error:  # of shapes that do not fit each other
        if tells_of_no_memory(str(error)):
            raise
        raise UserError(
            f"trace: a model of this config.json can't be run: {one_line(error)}; name another source or, if the library "
            "draws with it, report a fault of sdbuild"
        ) from error
    for node in exported.graph.nodes:
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
    torch.export.save(exported, path)
    return len(exported.graph.nodes)


def load_trace(path: Path) -> torch.export.ExportedProgram:
    """Load a program that `trace` saved."""
    return torch.export.load(path)


def parameters_of(exported: torch.export.ExportedProgram, prefix: str) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """The shape of each parameter of the module that was traced, by name without ``prefix``, and the names of those that the
    program uses: a VAE's halves are traced with the whole VAE at hand.
    """
    signature = exported.graph_signature
    lifted = signature.inputs_to_parameters | signature.inputs_to_buffers
    used = {
        lifted[node.name]
        for node in exported.graph.nodes
        if node.op == "placeholder" and node.name in lifted and node.users
    }
    shapes = {name.removeprefix(prefix): tuple(tensor.shape) for name, tensor in exported.state_dict.items()}
    return shapes, {bare for name in used if (bare := name.removeprefix(prefix)) in shapes}
