"""A recipe ready to plan from: every default filled in from the family and the device catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbuild.opset import Opset
from sdbuild.recipe.catalogue import catalogue
from sdbuild.recipe.compression import Step
from sdbuild.recipe.embeddings import Embedding, resolve_embeddings
from sdbuild.recipe.family import Component, Family, Port, Precision
from sdbuild.recipe.fields import EVERYTHING, Resolution
from sdbuild.recipe.generating import Generate
from sdbuild.recipe.local import bears_float16
from sdbuild.recipe.loras import Lora, WrittenLora, names_of
from sdbuild.recipe.source import Source
from sdbuild.recipe.sources import find_source
from sdbuild.recipe.targets import DEFAULT_YEAR, TARGETS, Target, target_of
from sdbuild.recipe.written import (
    OTHER_SOURCES,
    Attention,
    Bundle,
    Compiler,
    ComputeUnits,
    Model,
    PredictionType,
    Verify,
    WrittenRecipe,
)

if TYPE_CHECKING:
    from sdbuild.recipe.devices import Chip


@dataclass(frozen=True)
class RecipeModel:
    """Which weights to build from."""

    source: Source
    """The pipeline."""
    vae: Source | None = None
    """Another VAE."""
    embeddings: tuple[Embedding, ...] = ()
    """Learned ones."""
    text_encoder: Source | None = None
    """Another text encoder."""
    text_encoder_2: Source | None = None
    """Another second text encoder."""
    config: Source | None = None
    """Of a single file: the model whose configurations it has. The next three are what the recipe says of single files, too."""
    prediction_type: PredictionType | None = None
    zero_terminal_snr: bool | None = None
    ema: bool | None = None
    """Take the average of the weights."""
    guidance_embedding: float | None = None
    """The guidance scale that a UNet which takes one is built with."""
    scheduler: dict[str, Any] = field(default_factory=dict)
    """What differs from its own scheduler_config.json."""
    loras: tuple[Lora, ...] = ()
    """What is merged into the weights."""
    allow_pickle: bool = False
    """Pickled weights may be loaded."""
    variant: str | None = None
    """Variant of the weights, of the models that have it."""
    about: dict[str, str] = field(default_factory=dict)
    """What the recipe says of author, license and version; the rest is the model card's to say."""

    @property
    def others(self) -> dict[str, Source]:
        """The sources of components that do not come from the pipeline, by the keys that name them."""
        named = {"vae": self.vae, "text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2}
        return {key: source for key, source in named.items() if source is not None}

    @property
    def named(self) -> dict[str, Source]:
        """All sources of weights by the keys that name them."""
        return {"source": self.source, **self.others}

    def name_of(self, source: str) -> str:
        """The key that names what a family calls so: the pipeline's own, where the recipe names no other."""
        return source if source in self.others else "source"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One build: a recipe, or one variant of it. Nothing is left to default."""

    name: str
    """Name of the recipe."""
    variant: str | None
    """Name of the variant; None for a recipe without variants."""
    path: Path
    """The file it was read from, absolute."""
    family: Family
    """What the pipeline is made of."""
    model: RecipeModel
    """Which weights to build from."""
    components: tuple[str, ...]
    """Names of the components to build, in the family's order."""
    device: str | None
    """Key in the device catalogue."""
    os: str
    """Deployment target, such as iOS18."""
    compute_units: ComputeUnits
    """Processors that the app should load the models for."""
    resolution: Resolution
    """Image size."""
    batch: int
    """Batch of the UNet."""
    attention: Attention
    """Attention variant of the UNet."""
    precisions: dict[str, Precision]
    """Precision of each component of the family."""
    precisions_said: tuple[str, ...] = ()
    """Components whose precision the recipe itself says."""
    compress: dict[str, tuple[Step, ...]]
    """Steps, for the built components that have any."""
    chunk: bool
    """Cut the UNet in two."""
    compile: Compiler
    """Which compiler to use."""
    generate: Generate
    """Defaults of whoever generates with the bundle."""
    bundle: Bundle
    """How the Resources folder is delivered."""
    verify: Verify | None
    """What to ask of the artifacts, with a number for each component."""

    @property
    def pipeline(self) -> str:
        """The family's name."""
        return self.family.name

    @property
    def target(self) -> Target:
        """The deployment target with its opset."""
        return TARGETS[self.os]

    @property
    def opset(self) -> Opset:
        """The newest that the oldest system knows."""
        return self.target.opset

    @property
    def chip(self) -> Chip | None:
        """The chip of the device, when one is named."""
        return catalogue().chip(self.device) if self.device is not None else None

    def source_of(self, component: str) -> Source:
        """Where the weights and the config of a component come from."""
        return self.model.named[self.model.name_of(self.family.components[component].source)]

    def precision(self, component: str) -> Precision:
        """The precision of a component: as the recipe says, or the family's, or float16 for a VAE that is known to bear it."""
        return self.precisions[component]

    @property
    def at_risk_in_float16(self) -> tuple[str, ...]:
        """Built components that the recipe wants in float16 though the family says that they outgrow it."""
        safe, parts = self.family.vae_float16_safe, self.family.components
        return tuple(
            name
            for name in self.components
            if self.precisions[name] == "float16"
            and parts[name].precision == "float32"
            and self.source_of(name).id not in safe
        )

    def component(self, name: str) -> Component:
        """The family's component with this recipe's precision put in, in its ports too."""
        component, precision = self.family.components[name], self.precision(name)

        def settle(ports: tuple[Port, ...]) -> tuple[Port, ...]:
            return tuple(
                port.model_copy(update={"dtype": precision}) if port.dtype == "component" else port for port in ports
            )

        ports = {"inputs": settle(component.inputs), "outputs": settle(component.outputs)}
        return component.model_copy(update={"precision": precision, **ports})

    def options(self, name: str) -> dict[str, bool | int | float | str]:
        """The options of a component's kind: the family's; for a VAE what apps multiply latent images by; for a denoiser the
        guidance that it is built with, where there is one.
        """
        component, more = self.family.components[name], dict[str, float]()
        if component.role in ("decoder", "encoder"):
            more = {"vae_scale": self.family.vae_scale}
        elif component.role == "denoiser" and self.model.guidance_embedding is not None:
            more = {"guidance_embedding": self.model.guidance_embedding}
        return {**component.options, **more}

    def shape(self, component: str, port: Port) -> tuple[int | str, ...]:
        """A port's shape, as far as it is known before the component's configuration is read."""
        known = self.dimensions(component)
        return tuple(known.get(size, size) if isinstance(size, str) else size for size in port.shape)

    def dimensions(self, component: str) -> dict[str, int]:
        """The dimensions of a component's ports that are known before its configuration is read."""
        factor = self.family.vae_factor
        return {
            "batch": self.batch,
            "tokens": self.family.components[component].tokens or self.family.tokens,
            "latent_channels": self.family.latent_channels,
            "latent_height": self.resolution.height // factor,
            "latent_width": self.resolution.width // factor,
            "height": self.resolution.height,
            "width": self.resolution.width,
        }


def resolve(
    written: WrittenRecipe,
    family: Family,
    path: Path,
    variant: str | None,
    folders: Mapping[str, Path] | None = None,
    embedding_folders: Sequence[Path] = (),
    lora_folders: Sequence[Path] = (),
) -> Recipe:
    """Fill in every default. What contradicts itself is left for the rules to tell.

    ``folders``: where relative paths of the sources start, by the keys that name them (the recipe's folder), as its files may
    be several; ``embedding_folders`` and ``lora_folders``: where those of each embedding
    and of each LoRA do.
    """
    model, target = written.model, written.target
    chip = catalogue().chip(target.device) if target.device is not None else None
    if target.os is not None:
        system = TARGETS[target.os]
    elif target.device is not None:
        system = catalogue().devices[target.device].default_target
    else:
        system = target_of("iOS", DEFAULT_YEAR)  # a rule reports that neither was given
    if target.compute_units is not None:
        units = target.compute_units
    elif chip is not None:
        units = chip.compute_units
    else:
        units = "cpuAndNeuralEngine" if system.platform == "iOS" else "cpuAndGPU"
    on_engine = units in ("all", "cpuAndNeuralEngine")
    listed = written.components or family.default_components
    components = tuple(name for name in family.components if name in listed)
    built_in = model.guidance_embedding is not None  # so there is no other guidance
    unsaid = built_in and written.generate.guidance is None
    sources = _sources(model, folders or {}, path.parent)
    said = {"author": model.author, "license": model.license, "version": model.version}
    return Recipe(
        name=written.name,
        variant=variant,
        path=path,
        family=family,
        model=RecipeModel(
            **sources,
            prediction_type=model.prediction_type,
            zero_terminal_snr=model.zero_terminal_snr,
            ema=model.ema,
            guidance_embedding=model.guidance_embedding,
            scheduler=model.scheduler.said(),
            embeddings=resolve_embeddings(model.embeddings, embedding_folders or [path.parent] * len(model.embeddings)),
            loras=_loras(model.loras, lora_folders or [path.parent] * len(model.loras)),
            allow_pickle=model.allow_pickle,
            variant=model.variant,
            about={key: value for key, value in said.items() if value is not None},
        ),
        components=components,
        device=target.device,
        os=system.name,
        compute_units=units,
        resolution=written.resolution or family.default_resolution,
        batch=written.batch or (min(family.batches) if built_in else family.batches[0]),
        attention=written.attention or (family.neural_engine_attention if on_engine else "original"),
        precisions=_precisions(family, sources.get("vae") or sources["source"]) | written.precision,
        precisions_said=tuple(written.precision),
        compress={name: steps for name in components if (steps := written.compress.get(name))},
        chunk=bool(written.chunk),
        compile=written.compile,
        generate=written.generate.model_copy(update={"guidance": 1.0}) if unsaid else written.generate,
        bundle=written.bundle,
        verify=_limits(written.verify, components),
    )


def _sources(model: Model, folders: Mapping[str, Path], folder: Path) -> dict[str, Source]:
    """Of a recipe, by the keys that name them."""
    found = {"source": find_source(model.source, model.revision, folders.get("source", folder), model.sha256)}
    for key in OTHER_SOURCES:
        if (other := getattr(model, key)) is not None:
            found[key] = find_source(other.source, other.revision, folders.get(key, folder), other.sha256)
    return found


def _loras(written: Sequence[WrittenLora], folders: Sequence[Path]) -> tuple[Lora, ...]:
    found = []
    for each, folder in zip(written, folders, strict=True):
        found.append((find_source(each.source, each.revision, folder, each.sha256), each.file))
    names = names_of(found)
    return tuple(
        Lora(
            name=name,
            source=source,
            file=file,
            weight=each.weight,
            blocks=tuple(each.blocks) if each.blocks is not None else None,
            strict=each.strict,
        )
        for name, (source, file), each in zip(names, found, written, strict=True)
    )


def _precisions(family: Family, vae: Source) -> dict[str, Precision]:
    """What the family says, but float16 for a VAE that is known to bear it or, on this machine, says so itself."""

    def usual(component: Component) -> Precision:
        if component.precision == "float32" and component.source == "vae":
            safe = vae.id in family.vae_float16_safe or bears_float16(vae, component.folder)
            return "float16" if safe else "float32"
        return component.precision

    return {name: usual(component) for name, component in family.components.items()}


def _limits(verify: Verify | None, components: tuple[str, ...]) -> Verify | None:
    """One number for everything becomes one for each component; an image is asked for by name only."""
    if verify is None or EVERYTHING not in verify.min_psnr:
        return verify
    number = verify.min_psnr[EVERYTHING]
    return verify.model_copy(update={"min_psnr": dict.fromkeys(components, number)})
