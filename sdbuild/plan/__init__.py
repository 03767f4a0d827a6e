"""The plan: recipes and their families, turned into a graph of stages. Pure data; nothing runs here."""

from sdbuild.plan.graph import Build, Graph, Input, Model, Node, Stage
from sdbuild.plan.keys import Difference, difference, ingredients, key_of
from sdbuild.plan.pipeline import plan
from sdbuild.plan.sizes import Expected
from sdbuild.plan.stages import STAGES

__all__ = [
    "STAGES",
    "Build",
    "Difference",
    "Expected",
    "Graph",
    "Input",
    "Model",
    "Node",
    "Stage",
    "difference",
    "ingredients",
    "key_of",
    "plan",
]
