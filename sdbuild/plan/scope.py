"""What the sections of a plan share: the recipe, its components, and the nodes there are."""

from __future__ import annotations

from functools import cached_property

from sdbuild.jobs.originals import Sizes
from sdbuild.plan.compilers import find_compiler
from sdbuild.plan.graph import Node
from sdbuild.plan.sizes import SMALL, Estimates, Expected
from sdbuild.plan.sources import LocalFiles
from sdbuild.recipe import Recipe


class Common:
    """What the plans of all builds of a command have in common."""

    def __init__(self) -> None:
        """Nothing was planned yet."""
        self.files = LocalFiles()
        self.nodes: dict[Node, Node] = {}
        """Each once, so that what is known of it is found out once."""


class Scope:
    """The plan of one recipe, as far as it has come."""

    def __init__(self, recipe: Recipe, common: Common) -> None:
        """No nodes yet. Raises UserError: a compiler asked for is not on this machine."""
        self.recipe = recipe
        self.family = recipe.family
        self.files = common.files
        self.components = {name: recipe.component(name) for name in recipe.components}
        """By the name of the instance: several may be of one kind, or of one folder of different sources."""
        self.compiler = find_compiler(recipe.compile)
        self.estimates = Estimates(recipe)
        self.expected: dict[Node, Expected] = {}
        """How large artifacts may become."""
        self._nodes = common.nodes

    def node(self, job: object, name: str = "", expected: Expected | None = None) -> Node:
        """The node of a job; ``name`` is that of the component or package it is about. Its artifact is small
        unless it is said how large it may become.
        """
        node = Node(job, name)
        node = self._nodes.setdefault(node, node)
        self.expected[node] = expected or Expected(SMALL, SMALL)
        return node

    @cached_property
    def sizes(self) -> Sizes:
        """Those of the pipeline's tensors."""
        resolution, family = self.recipe.resolution, self.family
        return Sizes(
            height=resolution.height,
            width=resolution.width,
            batch=self.recipe.batch,
            tokens=family.tokens,
            latent_channels=family.latent_channels,
            vae_factor=family.vae_factor,
            vae_scale=family.vae_scale,
        )
