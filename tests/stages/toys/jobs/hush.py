"""hush: a stage of tests, which makes small weights zero in the packages of decoders, before they are compressed."""

from __future__ import annotations

from typing import Any

from sdbuild.job import Artifact, stage


@stage("hush", version=1, title="make small weights zero", tools=("numpy",))
class Hush:
    """The package with other weights."""

    below: float
    package: Artifact


def rewrite(recipe: Any, component: str, package: Artifact) -> Hush | None:
    """For decoders."""
    decodes = recipe.component(component).role == "decoder"
    return Hush(below=1e-4, package=package) if decodes else None
