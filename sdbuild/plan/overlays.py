"""The plan's section on what is laid over weights."""

from __future__ import annotations

from typing import Any

from sdbuild.jobs.config import SourceFacts
from sdbuild.jobs.download import Download
from sdbuild.jobs.lora import Built, Lora
from sdbuild.overlay import Layer, Overlays
from sdbuild.plan.graph import Node
from sdbuild.plan.scope import Scope
from sdbuild.plan.sizes import Expected
from sdbuild.plan.sources import source_facts
from sdbuild.plan.sourcing import Sourcing
from sdbuild.plan.tracing import trace
from sdbuild.recipe.loras import Lora as Wanted

_USUAL = 200_000_000
"""Bytes of a LoRA on the hub, before anybody has looked."""


def overlays(sourcing: Sourcing, component: str) -> Overlays:
    """What is laid over the weights of a component."""
    return _learned(sourcing, component) | _loras(sourcing, component)


def _learned(sourcing: Sourcing, component: str) -> Overlays:
    """The rows that learned embeddings add to the table of a text encoder: config reads them, for its shape depends on them."""
    if sourcing.embeddings is None or sourcing.scope.components[component].role != "text_encoder":
        return {}
    return {"embeddings": {"learned": Layer(files=sourcing.of(component, "rows.safetensors"))}}


def _loras(sourcing: Sourcing, component: str) -> Overlays:
    scope = sourcing.scope
    place = scope.family.adaptable.get(component)
    layers = {
        lora.name: _layer(sourcing, lora, place, lora.weight_of(component))
        for lora in scope.recipe.model.loras
        if place is not None and lora.weight_of(component) != 0
    }
    return {"loras": layers} if layers else {}


def _layer(sourcing: Sourcing, lora: Wanted, place: str, weight: Any) -> Layer:
    settings = {"place": place, "weight": weight}
    if lora.blocks is not None:
        settings["blocks"] = list(lora.blocks)
    return Layer(
        files=lora_file(sourcing, lora), settings=settings, facts=looked_at(sourcing, lora).part(f"{place}.json")
    )


def looked_at(sourcing: Sourcing, lora: Wanted) -> Node:
    """What it changes."""
    scope = sourcing.scope
    places = scope.family.adaptable
    job = Lora(
        source=_facts(scope, lora),
        file=lora.file,
        strict=lora.strict,
        allow_pickle=scope.recipe.model.allow_pickle,
        pipeline=scope.family.title,
        built={place: Built(graph=trace(sourcing, name)) for name, place in places.items() if name in scope.components},
        others=tuple(place for name, place in places.items() if name not in scope.components),
    )
    return scope.node(job, lora.name)


def lora_file(sourcing: Sourcing, lora: Wanted) -> Node:
    """Its download."""
    scope = sourcing.scope
    job = Download(source=_facts(scope, lora), files=looked_at(sourcing, lora).part("files.json"))
    size = _USUAL if lora.source.remote else 0
    return scope.node(job, f"lora-{lora.name}", Expected(size, size))


def _facts(scope: Scope, lora: Wanted) -> SourceFacts:
    return source_facts(lora.source, scope.files, [(lora.file or "").rpartition("/")[0]])
