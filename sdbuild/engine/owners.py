"""Whose results a folder holds: recipes of one name, or built into one folder, would else replace each other's silently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sdbuild.delivered import MANIFEST
from sdbuild.engine.results import same_file
from sdbuild.plan import Build, Node
from sdbuild.store import Artifact, Records, Store, StoreError


def other_owner(store: Store, build: Build, folder: Path) -> Path | None:
    """Another recipe, one that still exists, whose last results lie in the folder; None where none is known of."""
    try:
        found = (folder / MANIFEST).stat()
        others = [recipe for recipe, manifest in _manifests(store, build.result) if same_file(found, manifest.stat())]
    except (OSError, StoreError):  # nothing lies there, or it is for `gc` to report that a record is damaged
        return None
    if build.recipe in others:  # they are the same
        return None
    return next((recipe for recipe in others if recipe.exists()), None)


def _manifests(store: Store, of: Node) -> Iterator[tuple[Path, Path]]:
    """Recipes with the manifests of what they were last built into, ``of`` being a node like those that made them."""
    for _, record in Records(store.root).all():
        for stage, key in record.names():
            artifact = store.look(stage, key) if stage == of.stage.name else None
            if isinstance(artifact, Artifact):
                yield record.recipe, artifact.path / MANIFEST
