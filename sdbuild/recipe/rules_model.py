"""Rules on what is built: sources, components, image size, batch."""

from __future__ import annotations

from collections.abc import Iterator

from sdbuild.families import mismatch
from sdbuild.recipe.document import Location
from sdbuild.recipe.family import Family, every_family
from sdbuild.recipe.fields import EVERYTHING, Resolution
from sdbuild.recipe.local import local_config
from sdbuild.recipe.model import Recipe
from sdbuild.recipe.problems import allowed, hint
from sdbuild.recipe.rules import Finding, rule
from sdbuild.recipe.source import Source
from sdbuild.recipe.written import WrittenRecipe


@rule("model")
def sources(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Each source must be one; a revision belongs to the hub, and pins it."""
    yield from source_findings(recipe.model.source, ("model",), "model_index.json")
    for key, source in recipe.model.others.items():
        yield from source_findings(source, ("model", key), "config.json")
    if recipe.model.config is not None:
        yield from source_findings(recipe.model.config, ("model", "config"), "model_index.json")


def source_findings(source: Source, at: Location, needs: str) -> Iterator[Finding]:
    """What speaks against a source that is written at a place; ``needs`` is the file that a folder must hold, "" for none."""
    places = ((*at, "source"), at)
    problem = source.problem(needs)
    if problem is not None:
        yield Finding(problem[0], places, problem[1])
    elif not source.remote:
        if source.sha256 is not None:
            yield Finding("`sha256` is for a file at an address", ((*at, "sha256"),), ("remove the key",), on_key=True)
        if source.revision is not None:
            yield Finding(f"{source.title} has no revisions", ((*at, "revision"),), ("remove the key",), on_key=True)
    elif source.hashed and source.revision is not None:
        yield Finding("a file at an address has no revisions", ((*at, "revision"),), ("remove the key",), on_key=True)
    elif source.sha256 is not None and not source.hashed:
        yield Finding("`sha256` is for a file at an address", ((*at, "sha256"),), ("remove the key",), on_key=True)
    elif not source.pinned:
        now = f"'{source.revision}' may move" if source.revision else f"'{source.id}' has no revision"
        yield Finding(
            f"{now}: the same recipe may give other bytes tomorrow",
            ((*at, "revision"), *places),
            ("pin the 40-digit commit, shown on the hub under Files and versions",),
            warning=True,
        )


@rule("model", "pipeline")
def model_is_of_the_family(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """The UNet of a local model tells which family it is of; that of a hub model is for the first stage to look at."""
    denoiser = recipe.family.denoiser
    if denoiser is None:
        return
    config = local_config(recipe.model.source, denoiser.folder)
    if config.get("_class_name") != denoiser.model_class:
        return
    families = {name: family.recognition for name, family in every_family().items()}
    if wrong := mismatch(config, recipe.family.name, families):
        message = f"{recipe.model.source.name}: {wrong[0]}, but the recipe says `pipeline: {recipe.family.name}`"
        yield Finding(message, (("pipeline",),), (wrong[1],))


@rule("model", "components", "pipeline")
def others_are_used(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Another VAE or text encoder must be for something."""
    called = {"vae": "a VAE", "text_encoder": "a text encoder", "text_encoder_2": "a second text encoder"}
    for key in recipe.model.others:
        users = [name for name, component in recipe.family.components.items() if component.source == key]
        if not any(name in recipe.components for name in users):
            advice = f"add one of {', '.join(users)} to components, or remove the key" if users else "remove the key"
            yield Finding(
                f"{called[key]} is named, but nothing is built from it", (("model", key),), (advice,), on_key=True
            )


_ASKED_OF_FILES = {"prediction_type": "prediction_type", "rescale_betas_zero_snr": "zero_terminal_snr"}
"""Keys of a scheduler's configuration that a single file may say, and what they are called under `model:`."""


@rule("model")
def single_files_are_asked_about(recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """What a folder's configurations say is no question there, and what is a folder's none of a file."""
    model = recipe.model
    if model.source.single:
        if model.variant is not None:
            yield Finding("a single file has no variants", (("model", "variant"),), ("remove the key",), on_key=True)
        for key, own in _ASKED_OF_FILES.items():
            if key in model.scheduler:
                yield Finding(
                    f"of a single file this is said under `model.{own}`, and compared with the file's own word",
                    (("model", "scheduler", key),),
                    (f"write {own}: {str(model.scheduler[key]).lower()} under `model:`, and remove this key",),
                    on_key=True,
                )
        if model.config is not None and model.config.single:
            yield Finding(
                "configurations are in a model's folder, not in a single file",
                (("model", "config"),),
                ("name a diffusers folder or a model of the hub",),
            )
        return
    for key in ("config", "prediction_type", "zero_terminal_snr", "ema"):
        if getattr(written.model, key) is not None:
            yield Finding(
                f"`{key}` is for a single file: {model.source.title} says it in its own configurations",
                (("model", key),),
                ("remove the key",),
                on_key=True,
            )


@rule("components", "pipeline")
def components_exist(recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """Components are those of the family, each once; leaving a needed one out leaves Resources incomplete."""
    family = recipe.family
    listed = written.components or ()
    for index, name in enumerate(listed):
        at = (("components", index),)
        if name not in family.components:
            notes = (*hint(name, family.components), allowed(family.components))
            yield Finding(f"the pipeline {family.name} has no component '{name}'", at, notes)
        elif name in listed[:index]:
            yield Finding(f"'{name}' is listed twice", at)
    missing = [name for name in family.default_components if listed and name not in listed]
    if missing:
        yield Finding(
            f"without {' and '.join(missing)} the Swift package can't open the Resources folder",
            (("components",),),
            (f"a whole build fails; for single packages name their tasks, such as convert:{listed[0]}",),
            warning=True,
            on_key=True,
        )


@rule("compress", "components", "pipeline")
def compressed_components_are_built(recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """Steps belong to a component that is built."""
    family = recipe.family
    for name in written.compress:
        if name not in family.components:
            notes = (*hint(name, family.components), allowed(recipe.components))
            message = f"the pipeline {family.name} has no component '{name}'"
        elif name not in recipe.components:
            notes = ("add it to components, or remove it here",)
            message = f"'{name}' is not built, so there is nothing to compress"
        else:
            continue
        yield Finding(message, (("compress", name),), notes, on_key=True)


@rule("precision", "components", "pipeline")
def precise_components_are_built(recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """A precision belongs to a component that is built."""
    for name in written.precision:
        if name not in recipe.components:
            near = hint(name, recipe.components)
            yield Finding(
                f"'{name}' is not built, so it has no precision",
                (("precision", name),),
                (*near, allowed(recipe.components)),
                on_key=True,
            )


@rule("verify", "components", "pipeline")
def verified_components_are_built(recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """Only what is built can be measured."""
    known = (EVERYTHING, *recipe.components, "image")
    for name in written.verify.min_psnr if written.verify else ():
        if name not in known:
            notes = (*hint(name, known[1:]), allowed(known[1:]))
            yield Finding(
                f"'{name}' is not built, so there is nothing to measure",
                (("verify", "min_psnr", name),),
                notes,
                on_key=True,
            )


@rule("resolution", "pipeline", "model")
def resolution_fits(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Image sides must survive the VAE's and the UNet's halvings.

    The UNet's depth is the family's for hub models; a local or built-in one may be shallower or deeper, which its
    configuration tells.
    """
    family, size = recipe.family, recipe.resolution
    if size.width % family.vae_factor or size.height % family.vae_factor:
        multiple, why = family.vae_factor, f"the VAE makes one latent pixel of {family.vae_factor}x{family.vae_factor}"
    elif recipe.model.source.remote or recipe.model.source.single:
        multiple = family.vae_factor * family.unet_factor
        why = f"the UNet of {family.title} halves the latent image until {family.unet_factor} become 1"
    else:
        factor = 2 ** _halvings(recipe.model.source, family)
        multiple = family.vae_factor * factor
        why = f"the UNet of '{recipe.model.source.id}' halves the latent image until {factor} become 1"
    if size.width % multiple or size.height % multiple:
        fits = " and ".join(str(near) for near in family.nearest_resolutions(size, multiple))
        yield Finding(
            f"both sides of {size} must be multiples of {multiple}: {why}",
            (("resolution",),),
            (f"nearest: {fits}",),
        )


@rule("resolution", "pipeline", "model")
def resolution_is_the_models_own(recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """Where a recipe gives none it is the family's, which a local model may not have been made for."""
    denoiser = recipe.family.denoiser
    if written.resolution is not None or denoiser is None:
        return
    side = local_config(recipe.model.source, denoiser.folder).get("sample_size")
    if not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= _MOST_LATENTS:
        return
    own = Resolution(width=side * recipe.family.vae_factor, height=side * recipe.family.vae_factor)
    if own != recipe.resolution:
        yield Finding(
            f"without a resolution images are {recipe.resolution}, as is usual for {recipe.family.title}, and the UNet of "
            f"'{recipe.model.source.id}' was made for {own}",
            (("model",),),
            (f"write resolution: {own}, or resolution: {recipe.resolution} if that is meant",),
            warning=True,
            on_key=True,
        )


@rule("resolution", "pipeline", "components")
def sizes_are_told(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """The Swift package tells SDXL's UNet of one number for both sides (``originalSize``, ``targetSize``)."""
    size = recipe.resolution
    told = any(port.carries == "sizes" for name in recipe.components for port in recipe.family.components[name].inputs)
    if told and size.width != size.height:
        yield Finding(
            f"the app can't tell the UNet that images are {size}: the Swift package has one number for both sides, 1024 unless "
            "the app sets another",
            (("resolution",),),
            (
                "write a square resolution, or see what the app will generate: sdbuild generate … sizes=app, or sizes=N for "
                "another number",
            ),
            warning=True,
        )


_MOST_LATENTS = 512  # on a side; more is no size of a UNet
_MOST_BLOCKS = 8  # more is no UNet, as a stage will tell


def _halvings(source: Source, family: Family) -> int:
    """How often a local UNet halves its latent image; 0 where its configuration can't be read, which a stage will tell."""
    if family.denoiser is None:
        return 0
    blocks = local_config(source, family.denoiser.folder).get("down_block_types")
    return len(blocks) - 1 if isinstance(blocks, list) and 1 <= len(blocks) <= _MOST_BLOCKS else 0


@rule("batch", "pipeline")
def batch_fits(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Some pipelines of the Swift package only run one batch."""
    if recipe.batch not in recipe.family.batches:
        yield Finding(
            f"the Swift package always calls the UNet of {recipe.family.title} with a batch of "
            f"{' or '.join(map(str, recipe.family.batches))}",
            (("batch",),),
            (allowed(recipe.family.batches),),
        )
