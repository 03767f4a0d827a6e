"""Trace a component with ``torch.export``, and keep the program as a file of the same bytes each time."""

from pathlib import Path

import torch

from sdbuild.modeling.components import Component


def trace(component: Component, path: Path) -> int:
    """Trace without weights and save to ``path`` (``.pt2``); returns the number of nodes.

    The program refers to parameters by name; what depends on this machine or checkout (stack traces, module objects'
    sources) is left out, so that the file depends on the architecture alone.
    """
    with torch.no_grad():
        exported = torch.export.export(component.module, component.arguments, strict=False)
    for node in exported.graph.nodes:
        node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
    torch.export.save(exported, path)
    return len(exported.graph.nodes)


def load_trace(path: Path) -> torch.export.ExportedProgram:
    """Load a program that `trace` saved."""
    return torch.export.load(path)
