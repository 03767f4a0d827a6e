"""What a recipe says of LoRAs: which files, and how much each of them counts."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from sdbuild.recipe.fields import EVERYTHING, Sourced, form, wrong
from sdbuild.recipe.problems import allowed, hint
from sdbuild.recipe.source import SINGLE_FILES, Source

LISTS = (12, 17, 20, 26)
"""Lengths of lists of blocks; `sdbuild.modeling.adapters.blocks` has what their numbers are of."""
_SIDES = ("down", "mid", "up")
_MOST = 10.0  # weights beyond it are slips of the keyboard
_FORMS = (
    "write a number, one for each component {unet: 1.0, text_encoder: 0.5}, or blocks "
    "{unet: {down: 0.5, up: {block_1: 1}}}"
)
_BLOCK = re.compile(r"block_\d")


def _weight(value: Any) -> dict[str, Any]:
    """By component; `EVERYTHING` where a number alone stands for all."""
    if not isinstance(value, Mapping):
        return {EVERYTHING: _number(value)}
    if not value:
        raise wrong("no component is named", _FORMS)
    return {str(name): _of_component(str(name), inner) for name, inner in value.items()}


def _of_component(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return _number(value)
    found: dict[str, Any] = {}
    for side, inner in value.items():
        if side not in _SIDES:
            raise wrong(f"{name} has no blocks called '{side}'", *hint(str(side), _SIDES), allowed(_SIDES))
        found[side] = _of_side(side, inner)
    return found


def _of_side(side: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return _number(value)
    if side == "mid":
        raise wrong("there is one block in the middle, which has one number", "write mid: 0.5")
    found = {}
    for block, inner in value.items():
        if not _BLOCK.fullmatch(str(block)):
            raise wrong(
                f"'{block}' is no block of {side}",
                f"blocks are called block_0, block_1 …: {{{side}: {{block_1: 0.5}}}}",
            )
        found[str(block)] = [_number(each) for each in inner] if isinstance(inner, list | tuple) else _number(inner)
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(f"expected a number, found {value!r}", _FORMS)
    if not -_MOST <= value <= _MOST or math.isnan(value):
        raise wrong(f"a weight lies between -{_MOST:g} and {_MOST:g}, and 1 is as the file was trained", _FORMS)
    return float(value)


def _blocks(value: Any) -> list[float]:
    """A list, or the text that people pass on: ``1,0,0,0.5,…``."""
    if isinstance(value, str):
        try:
            value = [float(part) for part in value.split(",")]
        except ValueError:
            raise wrong("expected numbers with commas between them", "for example 1,0,0,0,1,1,1,1,1,1,1,1") from None
    if not isinstance(value, list | tuple):
        raise wrong("expected a list of numbers", "for example [1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]")
    if len(value) not in LISTS:
        raise wrong(
            f"a list of blocks has {', '.join(map(str, LISTS[:-1]))} or {LISTS[-1]} numbers, this one has {len(value)}",
            "12 or 20 for SDXL, 17 or 26 for Stable Diffusion 1 and 2: BASE, then the blocks from the first to the last",
        )
    return [_number(each) for each in value]


def _file(text: str) -> str:
    names = text.split("/")
    if any(name in ("", ".", "..") for name in names) or "\\" in text or not text.isprintable():
        raise wrong("expected the path of a file inside the source")
    return text


_NUMBER = {"type": "number", "minimum": -_MOST, "maximum": _MOST}
_SIDE = {
    "anyOf": [
        _NUMBER,
        {"type": "object", "additionalProperties": {"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER}]}},
    ]
}
_NESTED = {
    "type": "object",
    "properties": {
        "down": {**_SIDE, "description": "On the way down: a number, or one for each block."},
        "mid": {**_NUMBER, "description": "In the middle."},
        "up": {**_SIDE, "description": "On the way up: a number, or one for each block."},
    },
    "additionalProperties": False,
}
_WEIGHT_SCHEMA = {
    "anyOf": [_NUMBER, {"type": "object", "minProperties": 1, "additionalProperties": {"anyOf": [_NUMBER, _NESTED]}}],
    "examples": [0.8, {"unet": 1.0, "text_encoder": 0.5}, {"unet": {"down": 0.5, "up": {"block_1": 1.0}}}],
}
_BLOCKS_SCHEMA = {
    "anyOf": [{"type": "array", "items": _NUMBER, "minItems": LISTS[0], "maxItems": LISTS[-1]}, {"type": "string"}]
}


class WrittenLora(Sourced):
    """A LoRA or one of its relatives, to be merged into the weights."""

    source: str = Field(
        min_length=1,
        description="A file: a path from this one, on the hub (org/name, or org/name/file.safetensors) or at an address.",
        examples=["./ink.safetensors", "latent-consistency/lcm-lora-sdv1-5"],
    )
    file: Annotated[str, Field(min_length=1, max_length=400), AfterValidator(_file)] | None = Field(
        default=None, description="Which file of the source, where there are several."
    )
    weight: Annotated[Any, BeforeValidator(_weight), WithJsonSchema(_WEIGHT_SCHEMA)] = Field(
        default={EVERYTHING: 1.0},
        description="How much it counts, 1 being as it was trained: a number, one for each component, or by blocks as in "
        "diffusers; what is not mentioned counts 1.",
    )
    blocks: Annotated[Any, BeforeValidator(_blocks), WithJsonSchema(_BLOCKS_SCHEMA)] | None = Field(
        default=None,
        description="Further factors for blocks, as lists of the block weight extension (lbw) have them: 12 or 20 numbers for "
        "SDXL, 17 or 26 for Stable Diffusion 1 and 2.",
    )
    strict: bool = Field(
        default=True, description="Stop over tensors of the file that nothing takes; false: warn, and go on."
    )


def _short(text: str) -> dict[str, str]:
    return {"source": text}


_Short = Annotated[
    WrittenLora, BeforeValidator(_short), WithJsonSchema({"type": "string", "examples": ["./ink.safetensors"]})
]
LoraField = Annotated[
    Annotated[_Short, Tag("text")] | Annotated[WrittenLora, Tag("mapping")],
    Discriminator(form),
]


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA, ready to plan from."""

    name: str
    """For tasks and messages: of the file or the repository."""
    source: Source
    """Where it is from."""
    file: str | None
    """Which file of it; None: the only one."""
    weight: dict[str, Any]
    """By component, or one for all."""
    blocks: tuple[float, ...] | None
    """Factors for blocks."""
    strict: bool
    """Every tensor must be taken."""

    def weight_of(self, component: str) -> Any:
        """How much it counts in a component: a number, or a mapping of blocks."""
        return self.weight.get(component, self.weight.get(EVERYTHING, 1.0))


def names_of(loras: list[tuple[Source, str | None]]) -> list[str]:
    """A name for each, in order: the file's or the repository's, and a number where two would have the same."""
    names: list[str] = []
    for source, file in loras:
        last = (file or source.name).rstrip("/").rpartition("/")[2]
        stem = re.sub(rf"({'|'.join(map(re.escape, SINGLE_FILES))})$", "", last)
        name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:48] or "lora"
        number = 1 + sum(1 for each in names if each == name or re.fullmatch(re.escape(name) + r"-\d+", each))
        names.append(name if name not in names else f"{name}-{number}")
    return names
