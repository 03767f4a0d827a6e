"""Nodes, immutable and compared by what they do, and the graph of all that a command is about."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sdbuild.plan.sizes import Expected


@dataclass(frozen=True)
class Stage:
    """A kind of work."""

    name: str
    version: int
    """Raised whenever the stage's code comes to write something else for the same inputs."""
    title: str
    """What it does, for people."""
    tools: tuple[str, ...] = ()
    """Distributions whose versions may show in what it writes."""
    module: str = ""
    """Where its ``run`` is; empty for ``sdbuild.stages.<name>``."""
    links: bool = False
    """What it writes has hard links to what it reads."""

    @property
    def code(self) -> str:
        """The module to import."""
        return self.module or f"sdbuild.stages.{self.name}"


@dataclass(frozen=True, eq=False)
class Input:
    """An artifact that a node reads, or one file or folder of it: only that part's content counts."""

    role: str
    """What the stage calls it."""
    node: Node
    subpath: str | None = None


@dataclass(frozen=True, eq=False)
class Node:
    """One run of a stage. Two nodes are equal when the same stage does the same with equal inputs."""

    stage: Stage
    name: str
    """The component or package it is about; empty when it is about all of them."""
    parameters: str
    """Canonical JSON, see `canonical`."""
    inputs: tuple[Input, ...] = ()

    @cached_property
    def identity(self) -> str:
        """Equal for equal nodes."""
        inputs = [[item.role, item.node.identity, item.subpath] for item in self.inputs]
        parts = [self.stage.code, self.stage.version, self.name, self.parameters, inputs]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def label(self) -> str:
        """`convert:unet`: the task's name within one build."""
        return f"{self.stage.name}:{self.name}" if self.name else self.stage.name

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters as a mapping."""
        settings: dict[str, Any] = json.loads(self.parameters)
        return settings

    def __eq__(self, other: object) -> bool:
        """By identity."""
        return isinstance(other, Node) and self.identity == other.identity

    def __hash__(self) -> int:
        """By identity."""
        return hash(self.identity)


def canonical(value: Any) -> str:
    """JSON that is the same for equal values: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Model:
    """One model of a component: the whole, or a chunk."""

    name: str
    """As Swift calls it."""
    package: Input
    compiled: Node
    bits: str
    """Of its weights, such as ``16`` or ``6 (palettes)``."""
    parameters: int | None
    """Nominal number of the component's weights, where that is known."""


@dataclass(frozen=True, eq=False)
class Build:
    """What one recipe, or one variant of it, comes to."""

    name: str
    """The recipe's."""
    variant: str | None
    recipe: Path
    """The file."""
    result: Node
    """Its artifact holds what the user asked for."""
    models: tuple[Model, ...] = ()
    """What the result is made of."""
    expected: Mapping[Node, Expected] = field(default_factory=dict)
    """How large artifacts may become."""

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Everything it takes, each after its inputs."""
        return tuple(_ordered([self.result]))


@dataclass(frozen=True)
class Graph:
    """All builds of a command, with common nodes in common."""

    builds: tuple[Build, ...]
    tasks: Mapping[str, Node] = field(init=False)
    """Task name → node, each after its inputs."""

    def __post_init__(self) -> None:
        """Name the tasks."""
        object.__setattr__(self, "tasks", _named(self.builds))

    @cached_property
    def names(self) -> dict[Node, str]:
        """Node → task name."""
        return {node: name for name, node in self.tasks.items()}

    @cached_property
    def users(self) -> dict[Node, tuple[Build, ...]]:
        """Node → the builds that need it."""
        users: dict[Node, list[Build]] = defaultdict(list)
        for build in self.builds:
            for node in build.nodes:
                users[node].append(build)
        return {node: tuple(builds) for node, builds in users.items()}


def _ordered(roots: Iterable[Node]) -> Iterator[Node]:
    """The roots and all they need, once each, inputs first."""
    done: set[Node] = set()

    def visit(node: Node) -> Iterator[Node]:
        if node in done:
            return
        done.add(node)
        for item in node.inputs:
            yield from visit(item.node)
        yield node

    for root in roots:
        yield from visit(root)


def _named(builds: tuple[Build, ...]) -> dict[str, Node]:
    """A name for each node: its label; where several builds have different nodes of a label, with the first one's variant."""
    first: dict[Node, Build] = {}
    alike: dict[str, set[Node]] = defaultdict(set)
    for build in builds:
        for node in build.nodes:
            first.setdefault(node, build)
            alike[node.label].add(node)
    return {
        (node.label if len(alike[node.label]) == 1 else f"{node.label}@{build.variant}"): node
        for node, build in first.items()
    }
