"""Model families: what a pipeline is made of, read from pipelines/*.yaml."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from sdbuild.recipe.document import Mapping, find, parse
from sdbuild.recipe.fields import WHOLE, Resolution, ResolutionField, Strict, check_name, wrong
from sdbuild.recipe.files import names_in, pipelines_folder, read_text, split_lines
from sdbuild.recipe.problems import Problem, RecipeError, Span, allowed, display, report, suggestion
from sdbuild.recipe.validation import load_model
from sdbuild.wiring import ROLES, SIGNALS, Part

Precision = Literal["float16", "float32"]

# What a port's shape may name: from the recipe and the family, or, the last three, from the models' configurations.
DIMENSIONS = {
    "batch": "the UNet's batch: 2 with classifier-free guidance in one call",
    "tokens": "length of a prompt",
    "latent_channels": "channels of a latent image",
    "latent_height": "height / vae_factor",
    "latent_width": "width / vae_factor",
    "height": "image height in pixels",
    "width": "image width in pixels",
    "hidden_size": "width of the text encoder itself",
    "projection_dim": "width of the pooled prompt embedding",
    "cross_attention_dim": "width of the prompt embedding that the UNet takes",
}


def _dimension(value: str | int) -> str | int:
    if isinstance(value, bool) or (isinstance(value, int) and value < 1):
        raise wrong("a dimension is 1 or more")
    if isinstance(value, str) and value not in DIMENSIONS:
        raise wrong(f"unknown dimension '{value}'", *suggestion(value, DIMENSIONS), allowed(DIMENSIONS))
    return value


def _signal(value: str) -> str:
    if value not in SIGNALS:
        raise wrong(f"no port carries '{value}'", *suggestion(value, SIGNALS), allowed(SIGNALS))
    return value


def _role(value: str) -> str:
    if value not in ROLES:
        raise wrong(f"no network has the role '{value}'", *suggestion(value, ROLES), allowed(ROLES))
    return value


class Port(Strict):
    """One input or output of a compiled model."""

    name: str = Field(min_length=1, description="Name of the feature, as the Swift package asks for it.")
    dtype: Literal["float16", "float32", "component"] = Field(
        description="Element type at the boundary; component: the component's own precision."
    )
    description: str = Field(min_length=1, description="Shown by Xcode.")
    carries: Annotated[str, AfterValidator(_signal)] | None = Field(
        default=None, description="What the pipeline gives it or takes from it; left out where nothing does."
    )
    shape: tuple[Annotated[str | int, AfterValidator(_dimension)], ...] = Field(
        min_length=1, description="Numbers and names of dimensions."
    )


class Component(Strict):
    """One network of a pipeline."""

    folder: str = Field(min_length=1, description="Sub-folder of the source that holds its config and weights.")
    model_class: str = Field(min_length=1, description="Class that its config must name.")
    kind: Literal[
        "clip_text", "clip_text_pooled", "unet", "unet_xl", "vae_decoder", "vae_encoder", "safety_checker"
    ] = Field(description="Wrapper that gives it the ports below.")
    role: Annotated[str, AfterValidator(_role)] = Field(description="Its part in the pipeline.")
    padding: str = Field(default="", description="Of a text encoder: the token that fills a short prompt up.")
    swift_name: str = Field(pattern=r"^[A-Za-z0-9]+$", description="Name of its .mlmodelc in Resources.")
    description: str = Field(min_length=1, description="Shown by Xcode.")
    precision: Precision = Field(default="float16", description="Precision of weights and arithmetic.")
    weights: Literal["source", "vae"] = Field(
        default="source", description="vae: from the recipe's model.vae where it names one."
    )
    optional: bool = Field(default=False, description="Built only when the recipe lists it.")
    chunkable: bool = Field(default=False, description="`chunk: true` cuts it in two.")
    attention: bool = Field(default=False, description="The recipe's attention variant applies.")
    spatial: bool = Field(default=False, description="Its shapes depend on the image size.")
    batched: bool = Field(default=False, description="The recipe's batch applies.")
    parameters: int = Field(gt=0, description="Nominal number of weights, for estimates.")
    embedding_parameters: int = Field(
        default=0,
        ge=0,
        description="Those of them in tables that token ids are looked up in, which compression leaves alone.",
    )
    inputs: tuple[Port, ...] = Field(min_length=1, description="In the order of the Swift package.")
    outputs: tuple[Port, ...] = Field(min_length=1, description="In the order of the Swift package.")

    def part(self, name: str, models: Iterable[str] = ()) -> Part:
        """What the component called ``name`` does in the pipeline; ``models`` compute it, chunks in their order."""
        return Part(
            name=name,
            role=self.role,
            inputs={port.name: port.carries for port in self.inputs if port.carries is not None},
            outputs={port.name: port.carries for port in self.outputs if port.carries is not None},
            padding=self.padding,
            models=tuple(models),
        )


class Family(Strict):
    """A family of pipelines that share architecture, ports and names."""

    schema_version: Annotated[Literal[1], WHOLE] = Field(alias="schema", description="Version of the format.")
    name: Annotated[str, AfterValidator(check_name)] = Field(description="The file's name without suffix.")
    title: str = Field(min_length=1, description="What people call it.")
    vae_factor: int = Field(ge=1, description="Image pixels for one latent pixel, along each side.")
    unet_factor: int = Field(
        ge=1, description="What a latent side must be a multiple of: 2 for each time the usual UNet halves it."
    )
    latent_channels: int = Field(ge=1, description="Channels of a latent image.")
    vae_scale: float = Field(gt=0, description="Latents are multiplied by it after encoding.")
    vae_float16_safe: tuple[str, ...] = Field(
        default=(),
        description="VAE sources known not to overflow in float16; they are built so though `precision` says float32.",
    )
    default_resolution: ResolutionField = Field(description="Image size when the recipe gives none.")
    batches: tuple[int, ...] = Field(
        min_length=1, description="UNet batches the Swift package can run; first: default."
    )
    neural_engine_attention: Literal["split_einsum", "split_einsum_v2"] = Field(
        description="Attention variant for the Neural Engine when the recipe names none."
    )
    tokens: int = Field(ge=1, description="Length of a prompt in tokens.")
    tokenizers: tuple[str, ...] = Field(min_length=1, description="Tokenizer folders; the first one goes to Resources.")
    scheduler: str = Field(min_length=1, description="Scheduler folder.")
    scheduler_overrides: dict[str, int | float | bool | str] = Field(
        default={}, description="What a scheduler is made with, whatever the model's configuration says."
    )
    components: dict[str, Component] = Field(min_length=1, description="Its networks, in the order they run.")

    @field_validator("components")
    @classmethod
    def _distinct(cls, components: dict[str, Component]) -> dict[str, Component]:
        names = [component.swift_name for component in components.values()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise wrong(f"two components are called {twice[0]} in Swift")
        return components

    @property
    def default_components(self) -> tuple[str, ...]:
        """What is built when the recipe doesn't say."""
        return tuple(name for name, component in self.components.items() if not component.optional)

    def nearest_resolutions(self, size: Resolution, multiple: int) -> tuple[Resolution, ...]:
        """The valid sizes next to `size`, below and above, for sides that are multiples of `multiple`."""

        def sides(side: int) -> tuple[int, int]:
            below = max(multiple, side // multiple * multiple)
            return below, below if side == below else below + multiple

        (w0, w1), (h0, h1) = sides(size.width), sides(size.height)
        both = (Resolution(width=w0, height=h0), Resolution(width=w1, height=h1))
        return both if both[0] != both[1] else both[:1]


def load_family(name: str) -> Family:
    """The family `name`, from the pipelines that come with sdbuild. Raises RecipeError."""
    known = names_in(pipelines_folder())
    if name not in known:
        notes = (*suggestion(name, known), allowed(known))
        raise RecipeError("\n".join((f"no pipeline '{name}'", *(f"  = {note}" for note in notes))))
    return load_family_file(pipelines_folder() / f"{name}.yaml")


@functools.cache
def load_family_file(path: Path) -> Family:
    """A family from any file. Raises RecipeError with every problem in it."""
    family = load_model(Family, path)
    if family.name != path.stem:
        text = read_text(path)
        tree, _ = parse(text)
        place = find(tree, ("name",)) if isinstance(tree, Mapping) else None
        span = place[1].span if place else Span(0, 0, 1)
        notes = (f"write name: {path.stem}, or rename the file",)
        problem = Problem(span, "a family is called what its file is called", notes)
        raise report([problem], display(path), split_lines(text))
    return family
