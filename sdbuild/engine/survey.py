"""How tasks stand: whether their artifact is in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdbuild.errors import UserError
from sdbuild.plan import Graph, Node, ingredients, key_of
from sdbuild.store import Absent, Artifact, Store


@dataclass(frozen=True)
class Ready:
    """Its artifact is there."""

    key: str
    artifact: Artifact


@dataclass(frozen=True)
class Due:
    """It has all it needs, and no artifact."""

    key: str
    ingredients: dict[str, Any]
    damage: str
    """What is wrong with the artifact that was there."""


@dataclass(frozen=True)
class Waiting:
    """Whether it must run is for its inputs to show, once they are made anew."""

    inputs: tuple[Node, ...]


State = Ready | Due | Waiting


def examine(store: Store, node: Node, states: Mapping[Node, State]) -> State:
    """How a node stands, given how its inputs stand.

    Raises:
        UserError: the store can't be read, or an input lacks the part that is asked for.
    """
    digests, missing = [], []
    for item in node.inputs:
        state = states[item.node]
        if not isinstance(state, Ready):
            missing.append(item.node)
            continue
        digest = state.artifact.digest(item.subpath)
        if digest is None:
            raise UserError(f"{node.label}: {item.node.label} made no {item.subpath}, which is needed here")
        digests.append(digest)
    if missing:
        return Waiting(tuple(dict.fromkeys(missing)))
    parts = ingredients(node, digests)
    key = key_of(parts)
    found = store.look(node.stage.name, key)
    return Due(key, parts, found.damage) if isinstance(found, Absent) else Ready(key, found)


def survey(store: Store, graph: Graph) -> dict[Node, State]:
    """How every task of a graph stands; nothing is run or written."""
    states: dict[Node, State] = {}
    for node in graph.tasks.values():
        states[node] = examine(store, node, states)
    return states


def due_nodes(graph: Graph, states: Mapping[Node, State]) -> list[Node]:
    """The tasks without an artifact, in the order of the graph."""
    return [node for node in graph.tasks.values() if not isinstance(states[node], Ready)]
