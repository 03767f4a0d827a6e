"""Model sources: where a model's files are, which of them a build needs, and how their bytes are had.

A source is a repository on the hub, a local diffusers folder, or a model that ships with sdbuild.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.base import Source, SourceFile
from sdbuild.sources.folder import BuiltinSource, FolderSource
from sdbuild.sources.hub import HubSource

_PACKAGE = Path(__file__).resolve().parents[1]

__all__ = ["Source", "SourceError", "SourceFile", "open_source"]


def open_source(given: Mapping[str, Any], commit: str | None = None) -> Source:
    """The source that a stage's parameters name; nothing is looked up yet.

    ``kind``, "hub", "local" or "builtin", and ``id``, as the recipe writes it; of the hub also ``revision``, null for the
    default branch, and of a local folder its absolute ``path``. ``commit`` is what the revision came to earlier.
    """
    if given["kind"] == "hub":
        return HubSource(given["id"], commit or given["revision"])
    if given["kind"] == "builtin":
        return BuiltinSource(_PACKAGE / given["id"] / "model", f"builtin:{given['id']}")
    return FolderSource(Path(given["path"]), given["id"])
