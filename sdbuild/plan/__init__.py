"""The plan: recipes and their families, turned into a graph of jobs. Pure data; nothing runs here."""

from sdbuild.plan.graph import Build, Graph, Input, Model, Node, Part
from sdbuild.plan.keys import Difference, difference, ingredients, key_of
from sdbuild.plan.pipeline import plan
from sdbuild.plan.sizes import Expected

__all__ = [
    "Build",
    "Difference",
    "Expected",
    "Graph",
    "Input",
    "Model",
    "Node",
    "Part",
    "difference",
    "ingredients",
    "key_of",
    "plan",
]
