"""Nodes, their identity and their names."""

from pathlib import Path

import pytest

from sdbuild.errors import UserError
from sdbuild.job import Artifact, stage
from sdbuild.plan import Build, Graph, Node
from sdbuild.plan.graph import canonical


@stage("a", version=1, title="make a")
class A:
    setting: int


@stage("b", version=1, title="make b")
class B:
    a: Artifact


@stage("b", version=2, title="make b otherwise")
class NewB:
    a: Artifact


def chain(setting: int, name: str = "x") -> Node:
    return Node(B(a=Node(A(setting=setting)).part("part")), name)


def build(node: Node, variant: str | None) -> Build:
    return Build("recipe", variant, Path("recipe.yaml"), node)


def test_nodes_are_equal_when_they_do_the_same_with_equal_inputs() -> None:
    assert chain(1) == chain(1)
    assert len({chain(1), chain(1), chain(2)}) == 2
    node = chain(1)
    part = node.inputs[0].node.part("part")
    assert node == Node(B(a=part), "x") != Node(NewB(a=part), "x")
    assert node != Node(B(a=part.node.part("other part")), "x")
    assert node != Node(B(a=part.node), "x")
    assert canonical({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'


def test_builds_name_their_own_nodes_by_variant_and_common_ones_plainly() -> None:
    assert list(Graph((build(chain(1), None),)).tasks) == ["a", "b:x"]
    same = Graph((build(chain(1), "one"), build(chain(1), "two")))
    assert list(same.tasks) == ["a", "b:x"]
    different = Graph((build(chain(1), "one"), build(chain(2), "two")))
    assert list(different.tasks) == ["a@one", "b:x@one", "a@two", "b:x@two"]
    assert all(different.tasks[name] == node for node, name in different.names.items())


@stage("both", version=1, title="read two")
class Both:
    one: Artifact
    other: Artifact


def test_two_different_tasks_of_one_name_are_refused() -> None:
    twice = Node(Both(one=chain(1), other=chain(2)))
    with pytest.raises(UserError, match=r"^recipe.yaml: two different tasks are called a, and one would be lost"):
        Graph((build(twice, None),))
    with pytest.raises(UserError, match=r"^recipe.yaml, variant v: two different tasks are called a,"):
        Graph((build(twice, "v"),))
    equal = Graph((build(Node(Both(one=chain(1), other=chain(1))), None),))
    assert list(equal.tasks) == ["a", "b:x", "both"]


def test_builds_that_nothing_tells_apart_are_refused() -> None:
    with pytest.raises(UserError, match="two different tasks are called a,"):
        Graph((build(chain(1), None), build(chain(2), None)))
