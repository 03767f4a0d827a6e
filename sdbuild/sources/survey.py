"""Everything small about a pipeline: its configurations, its tokenizers, and which weight files a build will need."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.families import Families
from sdbuild.sources import checks
from sdbuild.sources.base import Source, read_json
from sdbuild.sources.card import read_card
from sdbuild.sources.configs import canonical, class_of, read_config
from sdbuild.sources.contents import check_weights
from sdbuild.sources.scales import check_scale
from sdbuild.sources.schedulers import resolve_scheduler
from sdbuild.sources.tokenizer import read_tokenizer, vocabulary_text
from sdbuild.sources.unfolded import Unfolded
from sdbuild.sources.weights import choose_weights, variants

Config = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """One model of a pipeline, as the recipe's family describes it."""

    folder: str
    """Inside its source."""
    model_class: str
    """That its config must name."""
    role: str
    """Its part in the pipeline, see `sdbuild.wiring`."""
    source: str = "source"
    """"source": the pipeline; else the source of that name where the recipe names one: "vae", "text_encoder"."""

    @property
    def is_text_encoder(self) -> bool:
        """Encodes prompts."""
        return self.role == "text_encoder"

    @property
    def is_denoiser(self) -> bool:
        """Predicts noise."""
        return self.role == "denoiser"

    @property
    def is_vae(self) -> bool:
        """Between pixels and latent images."""
        return self.role in ("decoder", "encoder")


@dataclass(frozen=True)
class Family:
    """What the checks must know of the recipe's pipeline."""

    name: str
    vae_factor: int
    vae_scale: float
    latent_channels: int
    tokenizers: tuple[str, ...]
    scheduler: str
    tokens: int
    encoders: Mapping[str, str]
    """Folder → class of all its text encoders, built or not."""
    image_sizes: int = 0
    """How many numbers on an image's size its denoiser takes, beside a pooled prompt; 0 for neither."""
    latent_statistics: bool = False
    """A mean and a deviation for each channel of the latent images, where a VAE has them, count."""
    guidance_embedding: bool = False
    """The recipe says a guidance scale for the denoiser to be built with."""


@dataclass(frozen=True)
class _Found:
    """A model in its source: its folder there, "" for the source itself, and its configuration."""

    wanted: Wanted
    source: Source
    folder: str
    config: Config

    @property
    def of_transformers(self) -> bool:
        """Saved as transformers saves its models; the others are as diffusers does."""
        return "_class_name" not in self.config


def survey(
    pipeline: Source,
    others: Mapping[str, Source],
    models: Mapping[str, Wanted],
    family: Family,
    families: Families,
    allow_pickle: bool,
    progress: Callable[[int, int], None],
    warn: Callable[[str], None] = lambda text: None,
    precision: Mapping[str, str] | None = None,
    variant: str | None = None,
    scheduler_changes: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Texts by path: ``model_index.json``; for each of the models, by name, ``components/<name>/config.json``, ``files.json``
    and ``card.json``; for each tokenizer ``<folder>/vocab.json`` and ``<folder>/merges.txt``;
    ``<scheduler>/scheduler_config.json``, which says in any case what the model predicts; and ``notes.json``, a list of what
    the app's author should know.

    ``others`` are the sources, by name, of the models that do not come from the pipeline. ``files.json`` has the ``commit``
    (null for a folder) and ``files``, the weight files, and of a single file also ``names``, see `Unfolded.record`;
    ``card.json`` what `read_card` finds. ``progress`` is called with the steps that are done, and how many there are; ``warn``
    with what the user should know though nothing is wrong. ``precision`` names what is built of a VAE, such as
    ``{"vae_decoder": "float16"}``, where the VAE's own word on that should be looked at. ``variant`` of the weights is taken of
    the models that have it. ``scheduler_changes`` is what the recipe lays over the scheduler's configuration.

    Raises:
        SourceError: something is missing, damaged, or not what the recipe takes it for.
    """
    wanted = list(dict.fromkeys(models.values()))  # some share a folder
    steps = 2 + 2 * len(wanted) + len(family.tokenizers)
    texts: dict[str, str] = {}
    index = read_json(pipeline, "model_index.json")
    texts["model_index.json"] = canonical(index)
    found = _find_all(pipeline, others, wanted, index, family, families)
    progress(1 + len(found), steps)
    for model in found:
        if model.wanted.is_vae and precision:
            checks.advise_on_precision(model.source.name, model.config, precision, warn)
    cards = {source: read_card(source, warn) for source in dict.fromkeys(model.source for model in found)}
    scheduler = f"{family.scheduler}/scheduler_config.json"
    schedule = resolve_scheduler(pipeline.name, read_json(pipeline, scheduler), index, scheduler_changes or {})
    texts[scheduler] = canonical(schedule.config)
    notes = list(schedule.notes)
    for model in found:
        if model.wanted.is_vae:
            notes += check_scale(model.source.name, model.config, family.name, family.vae_scale)
    encoders = [model for model in found if model.wanted.is_text_encoder]
    for number, folder in enumerate(family.tokenizers):
        vocabulary, merges = read_tokenizer(pipeline, folder, notes.append)
        if len(encoders) == len(family.tokenizers):
            checks.check_vocabulary(pipeline.name, folder, vocabulary, encoders[number].config)
        texts[f"{folder}/vocab.json"], texts[f"{folder}/merges.txt"] = vocabulary_text(vocabulary), merges
        progress(3 + len(found) + number, steps)
    for note in notes:
        warn(note)
    texts["notes.json"] = json.dumps(notes, indent=2, ensure_ascii=False) + "\n"
    if variant is not None:
        _check_variant(found, variant)
    for number, model in enumerate(found):
        record = _record(model, allow_pickle, variant)
        for name in (name for name, each in models.items() if each == model.wanted):
            place = f"components/{name}"
            texts[f"{place}/config.json"] = canonical(model.config)
            texts[f"{place}/files.json"] = json.dumps(record, indent=2, sort_keys=True) + "\n"
            texts[f"{place}/card.json"] = canonical(cards[model.source])
        progress(steps - len(found) + number + 1, steps)
    return texts


def _record(model: _Found, allow_pickle: bool, variant: str | None) -> dict[str, Any]:
    """Where a model's weights are."""
    if isinstance(model.source, Unfolded):
        return model.source.record()
    files = choose_weights(model.source, model.folder, model.of_transformers, allow_pickle, variant)
    check_weights(model.source, files)
    return {"commit": model.source.commit, "files": [file.record() for file in files]}


def _check_variant(found: list[_Found], variant: str) -> None:
    """At least one model must have the variant that is asked for; it is common that only the UNet does."""
    known = {model.wanted.folder: variants(model.source, model.folder, model.of_transformers) for model in found}
    if not any(variant in names for names in known.values()):
        there = "; ".join(f"{folder}: {', '.join(sorted(names))}" for folder, names in known.items() if names)
        raise SourceError(
            f"{found[0].source.name}: no weights of the variant {variant}; there are {there or 'none'}. Write one of these, or "
            "leave out `variant:`"
        )


def _find_all(
    pipeline: Source,
    others: Mapping[str, Source],
    models: list[Wanted],
    index: Config,
    family: Family,
    families: Families,
) -> list[_Found]:
    """The models' configurations, checked one by one and against each other."""
    checks.check_index(pipeline.name, index, families)
    # The denoiser first, if there is one: it tells best what pipeline this is.
    unets = [wanted for wanted in models if wanted.is_denoiser and _config(wanted.folder) in pipeline.files]
    found = {wanted: _find(pipeline, others, wanted, index) for wanted in unets}
    unet = found[unets[0]].config if unets else None
    checks.check_pipeline(pipeline.name, index, unet, family.name, families, family.latent_channels)
    if unet is not None:
        encoders = _encoders(pipeline, others, models, index, family, found)
        checks.check_refiner(pipeline.name, index, unet, encoders, family.image_sizes)
        checks.check_prompt_width(pipeline.name, unet, encoders, family.image_sizes)
        checks.check_guidance(pipeline.name, unet, family.guidance_embedding)
    for wanted in models:
        model = found[wanted] = found.get(wanted) or _find(pipeline, others, wanted, index)
        name = model.source.name
        if wanted.is_text_encoder:
            checks.check_tokens(name, model.folder, model.config, family.name, family.tokens)
        if wanted.is_vae:
            checks.check_vae(
                name,
                model.config,
                family.name,
                family.vae_factor,
                family.latent_channels,
                family.latent_statistics,
            )
    return [found[wanted] for wanted in models]


def _find(pipeline: Source, others: Mapping[str, Source], wanted: Wanted, index: Config) -> _Found:
    """A model in its source; one of a single model may have no folder for it."""
    source, folder = others.get(wanted.source, pipeline), wanted.folder
    if source is not pipeline and not isinstance(source, Unfolded):
        folder = folder if _config(folder) in source.files else ""
    if _config(folder) not in source.files:
        if isinstance(source, Unfolded):
            raise SourceError(source.lacks(folder))
        if source is pipeline and index.get(folder) in (None, [None, None]):
            raise SourceError(
                f"{source.name}: this model has no {folder}, says its model_index.json; name another source, or leave out of "
                "`components:` what needs it"
            )
        there = any(path.startswith(f"{folder}/") for path in source.files)
        what = f"{_config(folder)} is missing" if there or not folder else f"there is no folder {folder}"
        raise SourceError(
            f"{source.name}: {what}, where the recipe's pipeline has its {wanted.model_class}; name another source, or leave "
            "out of `components:` what needs it"
        )
    return _Found(wanted, source, folder, read_config(source, _config(folder), wanted.model_class))


def _encoders(
    pipeline: Source,
    others: Mapping[str, Source],
    models: list[Wanted],
    index: Config,
    family: Family,
    found: dict[Wanted, _Found],
) -> checks.Encoders:
    """The widths of all text encoders of the family, built or not; those that are built are added to ``found``."""
    encoders: dict[str, checks.Config | None] = {}
    wanted = {model.folder: model for model in models if model.is_text_encoder}
    for folder, model_class in family.encoders.items():
        config: checks.Config | None = None
        if folder in wanted and (wanted[folder].source in others or _config(folder) in pipeline.files):
            model = found[wanted[folder]] = _find(pipeline, others, wanted[folder], index)
            config = model.config
        elif _config(folder) in pipeline.files:
            config = read_json(pipeline, _config(folder))
            config = config if class_of(config) == model_class else None
        encoders[folder] = config
    return {folder: _widths(config) if config is not None else None for folder, config in encoders.items()}


def _widths(encoder: checks.Config) -> dict[str, int] | None:
    """With transformers' defaults; None for what is no width, in the configuration of a model that is not built."""
    widths = {key: encoder.get(key, 512) for key in ("hidden_size", "projection_dim")}
    return widths if all(type(width) is int for width in widths.values()) else None


def _config(folder: str) -> str:
    return f"{folder}/config.json" if folder else "config.json"
