"""Nodes, immutable and compared by what they do, and the graph of all that a command is about."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sdbuild.errors import UserError
from sdbuild.job import OMIT, Artifact, Stage, encode, stage_of
from sdbuild.plan.sizes import Expected


@dataclass(frozen=True, eq=False)
class Node(Artifact):
    """One job of a stage. Two nodes are equal when the same stage does the same with equal inputs."""

    job: object
    """An instance of a class of `jobs`; the artifacts in it are nodes and parts of nodes."""
    name: str = ""
    """The component or package it is about; empty when it is about all of them."""

    @cached_property
    def stage(self) -> Stage:
        """What it does."""
        return stage_of(self.job)

    @cached_property
    def _encoded(self) -> tuple[str, tuple[Input, ...]]:
        inputs: list[Input] = []

        def note(role: str, artifact: Artifact) -> Any:
            node, subpath = (artifact.node, artifact.subpath) if isinstance(artifact, Part) else (artifact, None)
            assert isinstance(node, Node), f"{role} of {self.label}: a plan knows no paths"
            inputs.append(Input(role, node, subpath))
            return OMIT

        return canonical(encode(self.job, note)), tuple(inputs)

    @property
    def parameters(self) -> str:
        """All of the job but its artifacts, as canonical JSON."""
        return self._encoded[0]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The artifacts in the job."""
        return self._encoded[1]

    @cached_property
    def identity(self) -> str:
        """Equal for equal nodes."""
        inputs = [[item.role, item.node.identity, item.subpath] for item in self.inputs]
        parts = [self.stage.code, self.stage.version, self.name, self.parameters, inputs]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def label(self) -> str:
        """`convert:unet`: the task's name within one build."""
        return f"{self.stage.name}:{self.name}" if self.name else self.stage.name

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters as a mapping."""
        settings: dict[str, Any] = json.loads(self.parameters)
        return settings

    def with_paths(self, paths: Mapping[str, str]) -> dict[str, Any]:
        """The job as JSON for the stage's process, given the path of each input by role."""
        return encode(self.job, lambda role, artifact: paths[role])

    def part(self, subpath: str) -> Part:
        """One file or folder of its artifact."""
        return Part(self, subpath)

    def __eq__(self, other: object) -> bool:
        """By identity."""
        return self is other or (isinstance(other, Node) and self.identity == other.identity)

    def __hash__(self) -> int:
        """By identity."""
        return hash(self.identity)


@dataclass(frozen=True)
class Part(Artifact):
    """One file or folder of what a node makes: only that part's content counts for who reads it."""

    node: Node
    subpath: str


@dataclass(frozen=True)
class Input:
    """An artifact that a node reads, or a part of one."""

    role: str
    """Its place in the job, such as ``weights`` or ``components.unet.files``."""
    node: Node
    subpath: str | None = None


def canonical(value: Any) -> str:
    """JSON that is the same for equal values: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Model:
    """One model of a component: the whole, or a chunk."""

    name: str
    """As Swift calls it."""
    package: Part
    compiled: Node
    bits: str
    """Of its weights, such as ``16`` or ``6 (palettes)``."""
    parameters: int | None
    """Nominal number of the component's weights, where that is known."""


@dataclass(frozen=True, eq=False)
class Build:
    """What is built of one recipe, or of one variant of it."""

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
        return _ordered(self.result)


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


def _ordered(root: Node) -> tuple[Node, ...]:
    """A node and all it needs, once each, inputs first."""
    done: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node not in done:
            for item in node.inputs:
                visit(item.node)
            done[node] = None

    visit(root)
    return tuple(done)


def _named(builds: tuple[Build, ...]) -> dict[str, Node]:
    """A name for each node: its label; where several builds have different nodes of a label, with the first one's variant.

    Raises:
        UserError: different nodes would have one name.
    """
    first: dict[Node, Build] = {}
    alike: dict[str, set[Node]] = defaultdict(set)
    for build in builds:
        for node in build.nodes:
            first.setdefault(node, build)
            alike[node.label].add(node)
    tasks: dict[str, Node] = {}
    for node, build in first.items():
        name = node.label if len(alike[node.label]) == 1 else f"{node.label}@{build.variant}"
        if tasks.setdefault(name, node) is not node:
            variant = f", variant {build.variant}" if build.variant else ""
            raise UserError(
                f"{build.recipe}{variant}: two different tasks are called {node.label}, and one would be lost; rename a "
                "component, so that its tasks get other names"
            )
    return tasks
