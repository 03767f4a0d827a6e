"""Model families: what a pipeline is made of, read from pipelines/*.yaml."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from sdbuild.extensions import folders, names
from sdbuild.families import Recognition
from sdbuild.recipe.document import Mapping, Scalar, Tree, describe, find, merge, parse, placed
from sdbuild.recipe.fields import WHOLE, Resolution, ResolutionField, Strict, check_name, wrong
from sdbuild.recipe.files import family_files, names_in, read_text, split_lines
from sdbuild.recipe.problems import Problem, RecipeError, Span, allowed, display, report, suggestion
from sdbuild.recipe.validation import top_level, unknown_nulls, validate, without_explained
from sdbuild.wiring import GIVES, ROLES, SIGNALS, Part

Precision = Literal["float16", "float32"]

DIMENSIONS = {
    "batch": "the denoiser's batch: 2 with classifier-free guidance in one call",
    "tokens": "length of a prompt",
    "latent_channels": "channels of a latent image",
    "latent_height": "height / vae_factor",
    "latent_width": "width / vae_factor",
    "height": "image height in pixels",
    "width": "image width in pixels",
}
"""What the shape of any port may name: known from recipe and family. A component's own `dimensions` come to it."""
_SPATIAL = {"latent_height", "latent_width", "height", "width"}


def _dimension(value: str | int) -> str | int:
    if isinstance(value, bool) or (isinstance(value, int) and value < 1):
        raise wrong("a dimension is 1 or more")
    return value


def _kind(value: str) -> str:
    kinds = names(folders("modeling.components"))  # without importing what is too heavy for this room
    if value not in kinds:
        raise wrong(f"no component is of the kind '{value}'", *suggestion(value, kinds), allowed(kinds))
    return value


def _contract(value: str) -> str:
    contracts = names(folders("bundle.contracts"))
    if value not in contracts:
        raise wrong(f"no contract is called '{value}'", *suggestion(value, contracts), allowed(contracts))
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
    kind: Annotated[str, AfterValidator(_kind)] = Field(
        description="What gives it the ports below: a file of sdbuild/modeling/components."
    )
    options: dict[str, bool | int | float | str] = Field(default={}, description="Options of the kind.")
    dimensions: tuple[str, ...] = Field(
        default=(), description="Dimensions that its ports may name besides, told by its configuration."
    )
    role: Annotated[str, AfterValidator(_role)] = Field(description="Its part in the pipeline.")
    tokenizer: str | None = Field(
        default=None, min_length=1, description="Of a text encoder: the folder of its tokenizer."
    )
    padding: str = Field(default="", description="Of a text encoder: the token that fills a short prompt up.")
    tokens: int | None = Field(
        default=None, ge=1, description="Of a text encoder: length of a prompt, where it is not the family's."
    )
    swift_name: str = Field(pattern=r"^[A-Za-z0-9]+$", description="Name of its .mlmodelc in Resources.")
    description: str = Field(min_length=1, description="Shown by Xcode.")
    precision: Precision = Field(default="float16", description="Precision of weights and arithmetic.")
    source: Literal["source", "vae", "text_encoder", "text_encoder_2"] = Field(
        default="source", description="Where it comes from; vae: the recipe's model.vae where it names one, and so on."
    )
    optional: bool = Field(default=False, description="Built only when the recipe lists it.")
    chunkable: bool = Field(default=False, description="`chunk: true` cuts it in two.")
    attention: bool = Field(default=False, description="The recipe's attention variant applies.")
    parameters: int = Field(gt=0, description="Nominal number of weights, for estimates.")
    embedding_parameters: int = Field(
        default=0,
        ge=0,
        description="Those of them in tables that token ids are looked up in, which compression leaves alone.",
    )
    inputs: tuple[Port, ...] = Field(min_length=1, description="In the order of the Swift package.")
    outputs: tuple[Port, ...] = Field(min_length=1, description="In the order of the Swift package.")

    @model_validator(mode="after")
    def _known_dimensions(self) -> Self:
        known = (*DIMENSIONS, *self.dimensions)
        faults = [
            InitErrorDetails(
                type=wrong(f"unknown dimension '{name}'", *suggestion(name, known), allowed(known)),
                loc=(side, number, "shape", index),
                input=name,
            )
            for side in ("inputs", "outputs")
            for number, port in enumerate(getattr(self, side))
            for index, name in enumerate(port.shape)
            if isinstance(name, str) and name not in known
        ]
        if faults:
            raise ValidationError.from_exception_data("Component", faults)
        return self

    @model_validator(mode="after")
    def _gives_what_its_role_is_for(self) -> Self:
        if (signal := GIVES[self.role]) not in [port.carries for port in self.outputs]:
            problem = wrong(f"no output of this {self.role} carries '{signal}'")
            fault = InitErrorDetails(type=problem, loc=("outputs",), input=self.outputs)
            raise ValidationError.from_exception_data("Component", [fault])
        return self

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


class Recognise(Strict):
    """By what a model is known to be of a family."""

    pipelines: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1,
        description="Beginnings of the classes that model_index.json names; of several families that with the longest has it.",
    )
    other_pipelines: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="Beginnings of classes that begin so, too, and are not of the family."
    )
    says: dict[str, bool | int | str | None] = Field(
        default={}, description="What config.json of the denoiser says only in this family; null: nothing."
    )
    meaning: str = Field(default="", description="The same in words, for messages: it …")
    otherwise: str = Field(
        default="",
        description="Where a denoiser that says something else can't be of the family: what that means, it …",
    )


class SingleFile(Strict):
    """What models in single files leave open, as the published model of the family has it."""

    scheduler: dict[str, int | float | bool | str] = Field(default={}, description="Its scheduler's configuration.")
    prediction_type: Literal["epsilon", "v_prediction"] | None = Field(
        default=None,
        description="What the UNet of a file predicts that does not say; null: the family's models differ, so the recipe says.",
    )


class Family(Strict):
    """A family of pipelines that share architecture, ports and names."""

    schema_version: Annotated[Literal[1], WHOLE] = Field(alias="schema", description="Version of the format.")
    name: Annotated[str, AfterValidator(check_name)] = Field(description="The file's name without suffix.")
    like: str | None = Field(
        default=None, description="Another family, which says what this one does not; mappings merge."
    )
    title: str = Field(min_length=1, description="What people call it.")
    contract: Annotated[str, AfterValidator(_contract)] = Field(
        description="What the Swift package asks of the bundle: a file of sdbuild/bundle/contracts."
    )
    recognise: Recognise = Field(description="By what a model is known to be of the family.")
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
    latent_statistics: bool = Field(
        default=False,
        description="A mean and a deviation for each channel of the latent images count, where a VAE has them.",
    )
    default_resolution: ResolutionField = Field(description="Image size when the recipe gives none.")
    batches: tuple[int, ...] = Field(
        min_length=1, description="UNet batches the Swift package can run; first: default."
    )
    neural_engine_attention: Literal["split_einsum", "split_einsum_v2"] = Field(
        description="Attention variant for the Neural Engine when the recipe names none."
    )
    tokens: int = Field(ge=1, description="Length of a prompt in tokens.")
    scheduler: str = Field(min_length=1, description="Scheduler folder.")
    scheduler_overrides: dict[str, int | float | bool | str] = Field(
        default={}, description="What a scheduler is made with, whatever the model's configuration says."
    )
    single_file: SingleFile = Field(
        default=SingleFile(), description="What models in single files leave open, which have no configurations."
    )
    components: dict[str, Component] = Field(min_length=1, description="Its networks, in the order they run.")

    @field_validator("components")
    @classmethod
    def _distinct(cls, components: dict[str, Component]) -> dict[str, Component]:
        names = [component.swift_name for component in components.values()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise wrong(f"two components are called {twice[0]} in Swift")
        return components

    @functools.cached_property
    def recognition(self) -> Recognition:
        """By what its models are known, for those who know no recipes."""
        return Recognition(title=self.title, **self.recognise.model_dump())

    @property
    def text_encoders(self) -> dict[str, Component]:
        """In the order they run."""
        return {name: part for name, part in self.components.items() if part.role == "text_encoder"}

    @property
    def adaptable(self) -> dict[str, str]:
        """The components that LoRAs change, with what their files call them: unet, text_encoder, text_encoder_2 …"""
        encoders = {
            name: f"text_encoder_{n}" if n > 1 else "text_encoder" for n, name in enumerate(self.text_encoders, 1)
        }
        return encoders | {name: "unet" for name, part in self.components.items() if part.role == "denoiser"}

    @property
    def denoiser(self) -> Component | None:
        """The network that predicts noise."""
        return next((part for part in self.components.values() if part.role == "denoiser"), None)

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """Tokenizer folders; the first one goes to Resources."""
        return tuple(dict.fromkeys(part.tokenizer for part in self.components.values() if part.tokenizer is not None))

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
    """The family `name`, of those that come with sdbuild or are in extensions. Raises RecipeError."""
    known = family_files()
    if name not in known:
        notes = (*suggestion(name, known), allowed(known))
        raise RecipeError("\n".join((f"no pipeline '{name}'", *(f"  = {note}" for note in notes))))
    return load_family_file(known[name])


def every_family() -> dict[str, Family]:
    """All families, by name: those that come with sdbuild, and those of extensions. Raises RecipeError."""
    return {name: load_family_file(path) for name, path in family_files().items()}


@functools.cache
def _parsed(path: Path) -> tuple[str, Tree | None, tuple[Problem, ...]]:
    """The text of a family's file, and what `parse` makes of it: once also for families that are like it."""
    text = read_text(path)
    tree, problems = parse(text)
    return text, tree, tuple(problems)


@functools.cache
def load_family_file(path: Path) -> Family:
    """A family from any file. Raises RecipeError with every problem in it."""
    text, tree, found = _parsed(path)
    problems = list(found)
    mapping = top_level(tree, problems)
    whole = _with_base(mapping, path, problems) if mapping is not None else None
    family = None
    if whole is not None:
        family, more, _ = validate(Family, whole)
        problems = [*without_explained(problems, more), *more]
        if family is not None and not problems and family.name != path.stem:
            place = find(whole, ("name",))
            span = place[1].span if place else Span(0, 0, 1)
            notes = (f"write name: {path.stem}, or rename the file",)
            problems.append(Problem(span, "a family is called what its file is called", notes))
    if family is None or problems:
        raise report(problems, display(path), split_lines(text))
    return family


_OWN = ("name", "title", "like")
"""Keys that a family does not have from another."""


def _with_base(own: Mapping, path: Path, problems: list[Problem]) -> Mapping | None:
    """A family with what it leaves out as in the one that it is ``like``, placed where that is named: since the other is valid
    by itself, whatever is wrong is wrong here. None where there is no other. A file that is no family of sdbuild's, or of an
    extension's, may be like one beside it.
    """
    entry = own.entries.get("like")
    if entry is None:
        return own
    problems += unknown_nulls(Family, own)
    known = family_files()
    if path not in known.values():
        known = {name: path.with_name(f"{name}.yaml") for name in names_in(path.parent)}
    others = [name for name in known if name != path.stem]
    name = entry.value.value if isinstance(entry.value, Scalar) else None
    if not isinstance(name, str) or name not in others:
        notes = (*(suggestion(name, others) if isinstance(name, str) else ()), allowed(others))
        problems.append(
            Problem(entry.value.span, f"'like' can't be {describe(entry.value)}: no such family is here", notes)
        )
        return None
    base = known[name]
    _, tree, _ = _parsed(base)
    if isinstance(tree, Mapping) and "like" in tree.entries:
        notes = (f"name the family that '{name}' is like, or write all keys",)
        problems.append(Problem(entry.value.span, f"'{name}' is itself like another family", notes))
        return None
    load_family_file(base)  # it says what is wrong with itself
    assert isinstance(tree, Mapping)
    inherited = {key: each for key, each in tree.entries.items() if key not in _OWN}
    return merge(placed(Mapping(inherited, own.span), entry.key), own)
