"""What a recipe lays over the weights of a component, as jobs have it. Its code is in `sdbuild.modeling.overlays`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sdbuild.job import Artifact


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A file that changes weights, and how it is to do that."""

    files: Artifact
    """What download made of it."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the kind of overlay."""
    facts: Artifact | None = None
    """What a stage found out about it beforehand, for this component."""


Overlays = dict[str, dict[str, Layer]]
"""By kind, which is a file of `sdbuild.modeling.overlays`, the layers by the names that the plan gives them. They apply
together, in no order."""


def code_of(overlays: Overlays) -> list[str]:
    """The modules that lay them, as a stage's ``uses`` has them. LoRAs are read by kinds of their own."""
    return [*(f"modeling.overlays.{kind}" for kind in overlays), *(["modeling.adapters"] if overlays else [])]
