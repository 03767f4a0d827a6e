"""The plan's last section: what the user gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sdbuild.jobs.bundle import Bundle, Merged, Shipped
from sdbuild.plan.graph import Model, Node
from sdbuild.plan.keys import tool_version
from sdbuild.plan.overlays import looked_at, lora_file
from sdbuild.plan.scope import Scope
from sdbuild.plan.sizes import Expected
from sdbuild.plan.sources import origin
from sdbuild.plan.sourcing import Sourcing
from sdbuild.recipe.compression import Step
from sdbuild.recipe.loras import Lora


def bundle(scope: Scope, sourcing: Sourcing, models: Mapping[str, tuple[Model, ...]], proof: Node | None) -> Node:
    """Resources for Apple's Swift package: the models of each component, tokenizer, manifest and zip."""
    recipe, family = scope.recipe, scope.family
    variant = f"_{recipe.variant}" if recipe.variant else ""
    flat = [model for found in models.values() for model in found]
    size = sum(scope.expected[model.compiled].size for model in flat)
    denoisers = [name for name, each in scope.components.items() if each.role == "denoiser"]
    job = Bundle(
        pipeline=family.name,
        contract=family.contract,
        networks=tuple(
            scope.components[name].part(name, [model.name for model in found]) for name, found in models.items()
        ),
        scheduler_overrides=family.scheduler_overrides,
        components={name: _shipped(scope, sourcing, name, found) for name, found in models.items()},
        sizes=scope.sizes,
        attention=recipe.attention,
        compute_units=recipe.compute_units,
        os=recipe.os,
        compiler=scope.compiler,
        tools=_tools(model.compiled for model in flat),
        zip=f"{recipe.name}{variant}_{recipe.attention}_compiled" if recipe.bundle.zip else None,
        tokenizers=sourcing.tokenizers,
        scheduler=sourcing.scheduler,
        notes=sourcing.config.part("notes.json"),
        denoiser=sourcing.weights(denoisers[0]) if denoisers else None,
        loras={lora.name: _merged(sourcing, lora) for lora in recipe.model.loras if any(lora.weight.values())},
        defaults=recipe.generate.defaults(recipe.batch),
        guidance_embedding=recipe.model.guidance_embedding,
        verified=proof,
        embeddings=sourcing.embeddings,
    )
    return scope.node(job, "", Expected(2 * size, size) if recipe.bundle.zip else Expected(size, 0))


def _shipped(scope: Scope, sourcing: Sourcing, component: str, models: tuple[Model, ...]) -> Shipped:
    source = scope.recipe.source_of(component)
    return Shipped(
        precision=scope.components[component].precision,
        compress=written(scope.recipe.compress.get(component, ())),
        origin=origin(source),
        models={model.name: model.compiled.part(f"{model.name}.mlmodelc") for model in models},
        files=sourcing.of(component, "files.json"),
        weights=sourcing.weight_record(component) if not source.origin else None,
    )


def _merged(sourcing: Sourcing, lora: Lora) -> Merged:
    return Merged(
        origin=origin(lora.source),
        weight=lora.weight,
        blocks=lora.blocks,
        found=looked_at(sourcing, lora).part("files.json"),
        file=lora_file(sourcing, lora).part("files.json"),
        about=looked_at(sourcing, lora).part("about.json"),
    )


def _tools(nodes: Iterable[Node]) -> dict[str, str]:
    """The versions of all tools that show in what the nodes, and those they need, make."""
    found: dict[str, str] = {}
    seen: set[Node] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node not in seen:
            seen.add(node)
            found |= {tool: tool_version(tool) for tool in node.stage.tools_for(node.job)}
            pending += [item.node for item in node.inputs]
    return found


def written(steps: Iterable[Step]) -> tuple[dict[str, Any], ...]:
    """Compression steps as a recipe writes them, with every option said."""
    return tuple({step.kind: step.options.settings()} for step in steps)
