"""The plan's section on verification: every stage's artifacts, against PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sdbuild.jobs.measure import Measure, Written
from sdbuild.jobs.originals import Original, Originals
from sdbuild.jobs.verify import Built, Verify
from sdbuild.plan.formats import Made
from sdbuild.plan.graph import Node, Part
from sdbuild.plan.overlays import overlays
from sdbuild.plan.scope import Scope
from sdbuild.plan.sizes import SMALL, Expected
from sdbuild.plan.sourcing import Sourcing
from sdbuild.recipe.written import Verify as Wanted

_PRECISION: Literal["float32"] = "float32"
_STEPS = 5
"""Of the schedule, from noise to image: the denoiser's cases are of four of them. Images of more steps score about the same
(the built-in model's with palettes of 6 bits 42.4 dB in 5 steps, 43.0 in 8; of 4 bits 32.2 and 35.4)."""
_MIN_CONVERTED_PSNR = (
    50.0  # dB that conversion must keep whatever is asked for: float16 weights cost some, a fault more
)


def verify(scope: Scope, sourcing: Sourcing, made: Mapping[str, Made], wanted: Wanted) -> Node:
    """What ships, and what was found of its components."""
    originals = _originals(scope, sourcing)
    components = tuple(
        Built(
            name=name,
            part=scope.components[name].part(name),
            inputs=_names(scope, name)[0],
            outputs=_names(scope, name)[1],
            config=sourcing.of(name, "config.json"),
            compiled=_compiled(each),
            measured=_measure(scope, originals, name, each).part("measured.json"),
        )
        for name, each in made.items()
    )
    return scope.node(
        Verify(
            components=components,
            originals=originals,
            sizes=scope.sizes,
            scheduler_overrides=scope.family.scheduler_overrides,
            precision=_PRECISION,
            image=wanted.image,
            min_psnr=wanted.min_psnr,
            min_converted_psnr=_MIN_CONVERTED_PSNR,
            embeddings=sourcing.embeddings,
            **_image(scope),
        )
    )


def _originals(scope: Scope, sourcing: Sourcing) -> Node:
    """What PyTorch gives, whatever becomes of the weights: variants of one model share it."""
    components = tuple(
        Original(
            name=name,
            kind=each.kind,
            options=scope.recipe.options(name),
            part=each.part(name),
            inputs=_names(scope, name)[0],
            outputs=_names(scope, name)[1],
            config=sourcing.of(name, "config.json"),
            weights=sourcing.weights(name),
            overlays=overlays(sourcing, name),
            tokenizer=sourcing.tokenizer(name),
        )
        for name, each in scope.components.items()
    )
    images = 8 * 3 * 4 * scope.sizes.width * scope.sizes.height  # of float32, up to eight
    job = Originals(
        components=components,
        sizes=scope.sizes,
        scheduler_overrides=scope.family.scheduler_overrides,
        scheduler=sourcing.scheduler,
        embeddings=sourcing.embeddings,
        **_image(scope),
    )
    return scope.node(job, "", Expected(SMALL + images, SMALL + images))


def _image(scope: Scope) -> dict[str, Any]:
    """How the image is generated: as the recipe says, in `_STEPS` at most."""
    said = scope.recipe.generate
    guidance = {} if said.guidance is None else {"guidance": said.guidance}
    return {"steps": min(said.steps or _STEPS, _STEPS), "scheduler_name": said.scheduler, **guidance}


def _measure(scope: Scope, originals: Node, component: str, made: Made) -> Node:
    inputs, outputs = _names(scope, component)
    job = Measure(
        name=component,
        inputs=inputs,
        outputs=outputs,
        precision=_PRECISION,
        cases=originals.part(component),
        packages=tuple(Written(stage=node.stage.name, package=node) for node in made.packages),
        compiled=_compiled(made),
    )
    return scope.node(job, component)


def _names(scope: Scope, component: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of a component's inputs and outputs."""
    own = scope.components[component]
    return tuple(port.name for port in own.inputs), tuple(port.name for port in own.outputs)


def _compiled(made: Made) -> tuple[Part, ...]:
    return tuple(model.compiled.part(f"{model.name}.mlmodelc") for model in made.models)
