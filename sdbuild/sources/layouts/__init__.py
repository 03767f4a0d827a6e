"""The names that components have in single files: each layout is a file of this folder, found by listing it.

A layout knows the names of one kind of network as some trainer writes them, and what diffusers or transformers call the same
tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module

from sdbuild import extensions
from sdbuild.sources.layouts.base import Component, Layout, Shapes

__path__ = extensions.folders(__name__)


@functools.cache
def layouts() -> tuple[Layout, ...]:
    """All of them, by name."""
    modules = (import_module(f"{__name__}.{name}") for name in extensions.names(__path__))
    return tuple(module.LAYOUT for module in modules if hasattr(module, "LAYOUT"))


def components_in(tensors: Shapes) -> list[Component]:
    """The components of a file, by the names and shapes of its tensors: whole ones alone, each with the keys it is made of."""
    found = []
    for layout in layouts():
        for prefix in layout.prefixes:
            if all(f"{prefix}{mark}" in tensors for mark in layout.marks):
                found.append(layout.read(prefix, _under(prefix, tensors)))
    return found


def _under(prefix: str, tensors: Shapes) -> Mapping[str, tuple[int, ...]]:
    return {key.removeprefix(prefix): shape for key, shape in tensors.items() if key.startswith(prefix)}
