"""What the sections of a plan share: the recipe, its components, and the nodes there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sdbuild.jobs.compile import Compiler
from sdbuild.plan.compilers import find_compiler
from sdbuild.plan.graph import Node
from sdbuild.plan.sizes import SMALL, Estimates, Expected
from sdbuild.plan.sources import LocalFiles
from sdbuild.recipe import Component, Recipe
from sdbuild.recipe.generating import Generate
from sdbuild.wiring import Sizes

_LATER: Mapping[str, Any] = {"variant": None, "compress": {}, "chunk": False, "generate": Generate(), "verify": None}
"""Fields of a recipe that matter to what becomes of converted models, and to nothing before it."""


class Common:
    """What the plans of all builds of a command have in common."""

    def __init__(self) -> None:
        """Nothing was planned yet."""
        self.files = LocalFiles()
        self.nodes: dict[Node, Node] = {}
        """Each once, so that what is known of it is found out once."""
        self.expected: dict[Node, Expected] = {}
        """How large artifacts may become."""
        self._early: dict[tuple[int, str], Scope] = {}

    def early(self, recipe: Recipe) -> Scope:
        """The scope of all that comes before models are converted, and of their conversion.

        It knows the recipe without the fields that matter later alone, and so is the same for variants that differ in nothing
        else: what is planned in it is planned once.
        """
        early = replace(recipe, **_LATER)
        key = id(recipe.family), repr([value for name, value in vars(early).items() if name != "family"])
        if key not in self._early:
            self._early[key] = Scope(early, self)
        return self._early[key]


class Scope:
    """A recipe, and what is known of it."""

    def __init__(self, recipe: Recipe, common: Common, early: Scope | None = None) -> None:
        """Of a recipe whose ``early`` scope is there, only what is its own is found out.

        Raises:
            UserError: a compiler asked for is not on this machine.
        """
        self.recipe = recipe
        self.family = recipe.family
        self.files = common.files
        self.expected = common.expected
        self._nodes = common.nodes
        self.components: dict[str, Component] = (
            early.components if early else {name: recipe.component(name) for name in recipe.components}
        )
        """By the name of the instance: several may be of one kind, or of one folder of different sources."""
        self.estimates: Estimates = early.estimates if early else Estimates(recipe)
        self.compiler: Compiler = early.compiler if early else find_compiler(recipe.compile)
        self.sizes: Sizes = early.sizes if early else _sizes(recipe)
        """Those of the pipeline's tensors."""

    def node(self, job: object, name: str = "", expected: Expected | None = None) -> Node:
        """The node of a job; ``name`` is that of the component or package it is about. Its artifact is small
        unless it is said how large it may become.
        """
        node = Node(job, name)
        node = self._nodes.setdefault(node, node)
        self.expected[node] = expected or Expected(SMALL, SMALL)
        return node


def _sizes(recipe: Recipe) -> Sizes:
    return Sizes(
        height=recipe.resolution.height,
        width=recipe.resolution.width,
        batch=recipe.batch,
        tokens=recipe.family.tokens,
        latent_channels=recipe.family.latent_channels,
        vae_factor=recipe.family.vae_factor,
        vae_scale=recipe.family.vae_scale,
    )
