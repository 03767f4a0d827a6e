"""Model sources: where a model's files are, which of them a build needs, and how their bytes are had.

Each kind of source, of which `sdbuild.recipe.sources` has what recipes say, is a module of its name in this folder.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from sdbuild import extensions
from sdbuild.errors import SourceError
from sdbuild.sources.base import Source, SourceFile

__all__ = ["Source", "SourceError", "SourceFile", "open_source"]

__path__ = extensions.folders(__name__)


def open_source(facts: Mapping[str, Any], commit: str | None = None) -> Source:
    """The source that a stage's job names; nothing is looked up yet.

    ``facts`` are ``kind`` and ``id``, as the recipe writes it, and what the kind's own ``open_source`` asks for. ``commit`` is
    what the revision came to earlier.
    """
    source: Source = import_module(f"{__name__}.{facts['kind']}").open_source(facts, commit)
    return source
