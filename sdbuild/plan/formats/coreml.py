"""Core ML: trace, convert, compress, chunk, compile; delivered as Resources for Apple's Swift package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sdbuild import jobs
from sdbuild.jobs.compile import Compile
from sdbuild.jobs.convert import Convert, Port
from sdbuild.plan import delivering
from sdbuild.plan.formats import Made
from sdbuild.plan.graph import Model, Node
from sdbuild.plan.overlays import overlays
from sdbuild.plan.scope import Scope
from sdbuild.plan.sizes import Expected
from sdbuild.plan.sourcing import Sourcing
from sdbuild.plan.tracing import trace
from sdbuild.recipe import family
from sdbuild.recipe.compression import Step, label
from sdbuild.recipe.sizes import full_bits


class CoreML:
    """ML Programs."""

    def __init__(self) -> None:
        """Nothing was planned yet."""
        self._converted: dict[tuple[Sourcing, str], Node] = {}
        self._made: dict[tuple[Sourcing, str, str, bool], Made] = {}

    def models(self, scope: Scope, sourcing: Sourcing, component: str) -> Made:
        """A package and what apps load; two of them where it is cut. Variants that do the same to it share them."""
        recipe = scope.recipe
        steps, cut = recipe.compress.get(component, ()), recipe.chunk and scope.components[component].chunkable
        key = sourcing, component, repr(steps), cut
        if key not in self._made:
            self._made[key] = self._make(scope, sourcing, component, steps, cut)
        return self._made[key]

    def _make(self, scope: Scope, sourcing: Sourcing, component: str, steps: tuple[Step, ...], cut: bool) -> Made:
        own = scope.components[component]
        packages = [self._convert(sourcing, component)]
        expected = scope.expected[packages[0]]
        for rewrite in jobs.rewrites():
            # of the early recipe, as variants that are alike in it share what is made here
            if (rewritten := rewrite(sourcing.scope.recipe, component, packages[-1])) is not None:
                packages.append(scope.node(rewritten, component, expected))
        if steps:
            from sdbuild.jobs.compress import Compress  # not every recipe has the stage

            expected = scope.estimates.package(own, steps)
            job = Compress(
                steps=delivering.written(steps),
                versions={step.kind: step.options.version for step in steps},
                tools=tuple(sorted({tool for step in steps for tool in step.options.tools})),
                package=packages[-1],
            )
            packages.append(scope.node(job, component, expected))
        if not cut:
            models = [_model(scope, component, own.swift_name, component, packages[-1], expected)]
        else:
            from sdbuild.jobs.chunk import Chunk

            packages.append(scope.node(Chunk(package=packages[-1]), component, expected))
            half = replace(expected, size=expected.size // 2)
            models = [
                _model(scope, component, f"{own.swift_name}Chunk{part}", f"{component}-{part}", packages[-1], half)
                for part in (1, 2)
            ]
        return Made(tuple(models), tuple(packages))

    def _convert(self, sourcing: Sourcing, component: str) -> Node:
        if (sourcing, component) not in self._converted:
            self._converted[sourcing, component] = _convert(sourcing, component)
        return self._converted[sourcing, component]

    def deliver(self, scope: Scope, sourcing: Sourcing, made: Mapping[str, Made], proof: Node | None) -> Node:
        """Resources, manifest and zip."""
        return delivering.bundle(scope, sourcing, {name: each.models for name, each in made.items()}, proof)


def _convert(sourcing: Sourcing, component: str) -> Node:
    scope = sourcing.scope
    recipe, own = scope.recipe, scope.components[component]
    job = Convert(
        package=own.swift_name,
        opset=recipe.opset,
        precision=own.precision,
        attention=recipe.attention if own.attention else None,
        inputs=_ports(own.inputs),
        outputs=_ports(own.outputs),
        metadata={"description": own.description, **recipe.model.about},
        trace=trace(sourcing, component),
        weights=sourcing.weights(component),
        overlays=overlays(sourcing, component),
        card=sourcing.of(component, "card.json"),
    )
    return scope.node(job, component, scope.estimates.package(own, ()))


def _ports(ports: Iterable[family.Port]) -> tuple[Port, ...]:
    return tuple(Port(name=port.name, dtype=port.dtype, description=port.description) for port in ports)


def _model(scope: Scope, component: str, name: str, task: str, package: Node, expected: Expected) -> Model:
    own, source = scope.components[component], package.part(f"{name}.mlpackage")
    linked = scope.compiler.compiler == "portable"  # its weights are the package's own
    size = Expected(expected.size, 0 if linked else expected.size)
    return Model(
        name,
        source,
        scope.node(Compile(compiler=scope.compiler, package=source), task, size),
        label(scope.recipe.compress.get(component, ()), full_bits(own)),
        scope.estimates.parameters(own),
    )
