"""The formats that models are built in; each is a file of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sdbuild.plan.graph import Model, Node
from sdbuild.plan.scope import Scope
from sdbuild.plan.sourcing import Sourcing


@dataclass(frozen=True)
class Made:
    """A component, built."""

    models: tuple[Model, ...]
    """The whole, or its chunks, in the order they run."""
    packages: tuple[Node, ...]
    """What came before the last stage, in the order it was made: the first is what conversion wrote."""


class Format(Protocol):
    """How models are built and delivered."""

    def models(self, scope: Scope, sourcing: Sourcing, component: str) -> Made:
        """Convert a component."""

    def deliver(self, scope: Scope, sourcing: Sourcing, made: Mapping[str, Made], proof: Node | None) -> Node:
        """Put all components together; ``proof`` is what verify found."""
