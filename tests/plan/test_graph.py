"""Nodes, their identity and their names."""

from dataclasses import replace
from pathlib import Path

from sdbuild.plan import Build, Graph, Input, Node, Stage
from sdbuild.plan.graph import canonical

A = Stage("a", 1, "make a")
B = Stage("b", 1, "make b")


def chain(setting: int, name: str = "x") -> Node:
    first = Node(A, "", canonical({"setting": setting}))
    return Node(B, name, canonical({}), (Input("a", first, "part"),))


def build(node: Node, variant: str | None) -> Build:
    return Build("recipe", variant, Path("recipe.yaml"), node)


def test_nodes_are_equal_when_they_do_the_same_with_equal_inputs() -> None:
    assert chain(1) == chain(1)
    assert len({chain(1), chain(1), chain(2)}) == 2
    node = chain(1)
    assert node != replace(node, stage=replace(B, version=2))
    assert node != replace(node, inputs=(Input("a", node.inputs[0].node, "other part"),))
    assert canonical({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'


def test_builds_name_their_own_nodes_by_variant_and_common_ones_plainly() -> None:
    assert list(Graph((build(chain(1), None),)).tasks) == ["a", "b:x"]
    same = Graph((build(chain(1), "one"), build(chain(1), "two")))
    assert list(same.tasks) == ["a", "b:x"]
    different = Graph((build(chain(1), "one"), build(chain(2), "two")))
    assert list(different.tasks) == ["a@one", "b:x@one", "a@two", "b:x@two"]
    assert all(different.tasks[name] == node for node, name in different.names.items())
