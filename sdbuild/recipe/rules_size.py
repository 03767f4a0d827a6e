"""Rules on weight: compression steps that fit together, chunks, and what a device can load.

Sizes are nominal and so only known for hub models. For local and built-in ones the plan knows the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sdbuild.recipe.catalogue import catalogue
from sdbuild.recipe.compression import compressed, unfold
from sdbuild.recipe.model import Recipe
from sdbuild.recipe.rules import Finding, rule
from sdbuild.recipe.sizes import GB, full_bits, weight_bytes
from sdbuild.recipe.targets import FEATURES, target_of
from sdbuild.recipe.written import WrittenRecipe

if TYPE_CHECKING:
    from sdbuild.recipe.devices import Device

# README of apple/ml-stable-diffusion, `--chunk-unet`: on iOS and iPadOS the Neural Engine needs chunks of less than
# 1 GB, unless weights are palettized with 6 bits or fewer.
CHUNK_BYTES = GB
CHUNK_BITS = 6
# Of a device's memory, what one app's models can count on. Apple documents no figure; iOS is known to end an app near
# half of it. Half a gigabyte of that goes to activations and the app itself.
_APP_SHARE = 0.5
_APP_BYTES = GB // 2


@rule("compress", "components", "pipeline")
def steps_compose(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Each step must be able to follow those before it: a palette of palette indices means nothing."""
    for name, steps in recipe.compress.items():
        for index, (step, before) in enumerate(unfold(steps, full_bits(recipe.component(name)))):
            if problem := step.options.problem(before, step.kind):
                message, notes = problem
                yield Finding(
                    f"'{name}' {message}",
                    (("compress", name, index, step.kind), ("compress", name)),
                    notes,
                    on_key=True,
                )


@rule("chunk", "components", "pipeline", "target", "compress", "model")
def chunks(recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """Chunks are for iOS, for weights that it can't load in one piece."""
    names = [name for name in recipe.components if recipe.family.components[name].chunkable]
    if not names:
        if recipe.chunk:
            yield Finding("nothing that is built can be chunked", (("chunk",),), ("remove the key",), on_key=True)
        return
    mobile = recipe.target.platform == "iOS"
    if recipe.chunk and not mobile:
        yield Finding(
            f"chunks are for iOS and iPadOS: {recipe.os} loads the whole model, and faster",
            (("chunk",),),
            ("remove the key",),
            warning=True,
        )
    if not mobile or not recipe.model.source.remote:
        return
    for name in names:
        yield from _chunk(recipe, written, name)


def _chunk(recipe: Recipe, written: WrittenRecipe, name: str) -> Iterator[Finding]:
    steps = recipe.compress.get(name, ())
    component, stays = recipe.component(name), FEATURES["compressed_in_memory"]
    size = weight_bytes(component, steps)
    weights, _ = compressed(steps, full_bits(component))
    packed = weights.size <= CHUNK_BITS and recipe.target.year >= stays.year
    loaded = _in_memory(recipe, name)
    halves_fit = loaded <= 2 * CHUNK_BYTES
    if recipe.chunk and steps and size <= CHUNK_BYTES and recipe.target.year >= stays.year:
        yield Finding(
            f"the compressed {name} has about {_gigabytes(size)} of weights: {recipe.os} loads it in one piece, so "
            "chunks only add work",
            (("chunk",),),
            ("remove the key",),
            warning=True,
        )
    if packed or loaded <= CHUNK_BYTES or (recipe.chunk and halves_fit):
        return
    advice = f"compress: {{{name}: [{{palettize: {{bits: {CHUNK_BITS}}}}}]}}"
    if halves_fit:
        advice = f"write chunk: true, or {advice}"
    if recipe.target.year < stays.year:
        advice += f" with os: {target_of('iOS', stays.year).name}"
    if recipe.chunk:
        yield Finding(
            f"the two chunks of {name} have about {_gigabytes(loaded / 2)} of weights each, and {recipe.os} loads about 1 GB a "
            f"model, unless it is palettized with {CHUNK_BITS} bits or fewer",
            (("chunk",),),
            (advice,),
            warning=True,
        )
        return
    on_engine = recipe.compute_units in ("all", "cpuAndNeuralEngine")
    warning = not on_engine or written.chunk is False
    way_out = "for a model smaller than the usual one, write chunk: false to turn this into a warning"
    yield Finding(
        f"{name} has about {_gigabytes(loaded)} of weights, and {recipe.os} loads about 1 GB "
        f"a model, unless it is palettized with {CHUNK_BITS} bits or fewer",
        (("chunk",), ("compress", name), ("target", "device"), ("target", "os")),
        (advice,) if warning else (advice, way_out),
        warning,
    )


@rule("components", "pipeline", "target", "compress", "model")
def memory(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """The largest model must leave the app alive."""
    if recipe.device is None or recipe.target.platform != "iOS" or not recipe.model.source.remote:
        return
    device = catalogue().devices[recipe.device]
    limit = app_budget(device)
    largest = max(recipe.components, key=lambda name: _in_memory(recipe, name), default=None)
    if limit is None or largest is None or (size := _in_memory(recipe, largest)) <= limit:
        return
    together = ", both chunks together" if recipe.chunk and recipe.family.components[largest].chunkable else ""
    yield Finding(
        f"{largest} has about {_gigabytes(size)} of weights in memory{together}, and iOS is likely to end an app on "
        f"{device.title} with {device.memory} GB above about {_gigabytes(limit)}",
        (("compress", largest), ("target", "device")),
        ("compress it with fewer bits, or name a device with more memory",),
        warning=True,
        on_key=True,
    )


def app_budget(device: Device) -> int | None:
    """Bytes of weights that an app can have in memory before iOS is likely to end it; None for a Mac, which swaps."""
    return int(device.memory * GB * _APP_SHARE) - _APP_BYTES if device.platform == "iOS" else None


def _in_memory(recipe: Recipe, name: str) -> int:
    """Bytes of a component's weights once loaded: older systems expand compressed ones."""
    expands = recipe.target.year < FEATURES["compressed_in_memory"].year
    return weight_bytes(recipe.component(name), () if expands else recipe.compress.get(name, ()))


def _gigabytes(size: float) -> str:
    return f"{size / GB:.1f} GB"
