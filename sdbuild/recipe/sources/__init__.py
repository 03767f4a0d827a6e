"""The kinds of sources: each is a file of this folder, found by listing it. How files are had is in `sdbuild.sources`."""

from __future__ import annotations

import functools
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from sdbuild import extensions
from sdbuild.recipe.source import Source

__path__ = extensions.folders(__name__)


@functools.cache
def kinds() -> tuple[type[Source], ...]:
    """All of them, in the order in which they are asked."""
    found: list[type[Source]] = [import_module(f"{__name__}.{name}").SOURCE for name in extensions.names(__path__)]
    return tuple(sorted(found, key=lambda kind: (kind.rank, kind.kind)))


def find_source(text: str, revision: str | None, folder: Path, sha256: str | None = None) -> Source:
    """What ``text`` names, for a recipe that lies in ``folder``; ``sha256`` is what it says of the content."""
    found = (kind.read(text, revision, folder) for kind in kinds())
    source = next(source for source in found if source is not None)
    return replace(source, sha256=sha256) if sha256 is not None else source
