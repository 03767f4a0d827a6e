"""Everything small about a pipeline: its configurations, its tokenizers, and which weight files a build will need."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sdbuild.sources import checks
from sdbuild.sources.base import Source, SourceError, read_json
from sdbuild.sources.configs import canonical, read_config
from sdbuild.sources.tokenizer import read_tokenizer, vocabulary_text
from sdbuild.sources.weights import choose_weights

Config = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """One model of a pipeline, as the recipe's family describes it.

    ``folder`` inside the source, ``model_class`` that its config must name, and whether it comes from the pipeline ("source")
    or from another VAE where the recipe names one ("vae").
    """

    folder: str
    model_class: str
    weights: str = "source"

    @property
    def is_text_encoder(self) -> bool:
        """Encodes prompts."""
        return self.model_class.startswith("CLIPText")

    @property
    def of_transformers(self) -> bool:
        """Saved as transformers saves its models; the others are as diffusers does."""
        return self.is_text_encoder or self.model_class.endswith("SafetyChecker")

    @property
    def is_unet(self) -> bool:
        """Denoises."""
        return self.model_class.startswith("UNet")

    @property
    def is_vae(self) -> bool:
        """Between pixels and latent images."""
        return self.model_class.startswith("Autoencoder")


@dataclass(frozen=True)
class Family:
    """What the checks must know of the recipe's pipeline."""

    name: str
    vae_factor: int
    latent_channels: int
    tokenizers: tuple[str, ...]
    scheduler: str
    tokens: int


@dataclass(frozen=True)
class _Found:
    """A model in its source: its folder there, "" for the source itself, and its configuration."""

    wanted: Wanted
    source: Source
    folder: str
    config: Config


def survey(
    pipeline: Source,
    vae: Source | None,
    models: Iterable[Wanted],
    family: Family,
    allow_pickle: bool,
    progress: Callable[[int, int], None],
) -> dict[str, str]:
    """Texts by path: ``model_index.json``; for each model ``<folder>/config.json`` and ``files/<folder>.json``; for each
    tokenizer ``<folder>/vocab.json`` and ``<folder>/merges.txt``; and ``<scheduler>/scheduler_config.json``.

    ``vae`` is another source for the models that may come from one. ``files/…`` has the ``commit`` (null for a folder) and
    ``files``, the weight files. ``progress`` is told how many steps are done, and how many there are.

    Raises:
        SourceError: something is missing, damaged, or not what the recipe takes it for.
    """
    models = list(models)
    steps = 2 + 2 * len(models) + len(family.tokenizers)
    texts: dict[str, str] = {}
    index = read_json(pipeline, "model_index.json")
    texts["model_index.json"] = canonical(index)
    found = _find_all(pipeline, vae, models, index, family)
    progress(1 + len(found), steps)
    scheduler = f"{family.scheduler}/scheduler_config.json"
    texts[scheduler] = canonical(read_json(pipeline, scheduler))
    encoders = [model for model in found if model.wanted.is_text_encoder]
    for number, folder in enumerate(family.tokenizers):
        vocabulary, merges = read_tokenizer(pipeline, folder)
        if len(encoders) == len(family.tokenizers):
            checks.check_vocabulary(pipeline.name, folder, vocabulary, encoders[number].config)
        texts[f"{folder}/vocab.json"], texts[f"{folder}/merges.txt"] = vocabulary_text(vocabulary), merges
        progress(3 + len(found) + number, steps)
    for number, model in enumerate(found):
        folder = model.wanted.folder
        texts[f"{folder}/config.json"] = canonical(model.config)
        files = choose_weights(model.source, model.folder, model.wanted.of_transformers, allow_pickle)
        record = {"commit": model.source.commit, "files": [file.record() for file in files]}
        texts[f"files/{folder}.json"] = json.dumps(record, indent=2, sort_keys=True) + "\n"
        progress(steps - len(found) + number + 1, steps)
    return texts


def _find_all(
    pipeline: Source, vae: Source | None, models: list[Wanted], index: Config, family: Family
) -> list[_Found]:
    """The models' configurations, checked one by one and against each other."""
    checks.check_index(pipeline.name, index)
    # The UNet first, if there is one: it tells best what pipeline this is.
    unets = [wanted for wanted in models if wanted.is_unet and _config(wanted.folder) in pipeline.files]
    found = {wanted: _find(pipeline, vae, wanted, index) for wanted in unets}
    unet = found[unets[0]].config if unets else None
    checks.check_pipeline(pipeline.name, index, unet, family.name, family.latent_channels)
    for wanted in models:
        model = found[wanted] = found.get(wanted) or _find(pipeline, vae, wanted, index)
        name = model.source.name
        if wanted.is_text_encoder:
            checks.check_tokens(name, model.folder, model.config, family.name, family.tokens)
        if wanted.is_vae:
            checks.check_vae(name, model.config, family.name, family.vae_factor, family.latent_channels)
    encoders = {wanted.folder: found[wanted].config for wanted in models if wanted.is_text_encoder}
    if unet is not None and len(encoders) == len(family.tokenizers):
        checks.check_prompt_width(pipeline.name, unet, encoders)
    return [found[wanted] for wanted in models]


def _find(pipeline: Source, vae: Source | None, wanted: Wanted, index: Config) -> _Found:
    """A model in its source; one of a single model may have no folder for it."""
    source, folder = pipeline, wanted.folder
    if wanted.weights == "vae" and vae is not None:
        source = vae
        folder = folder if _config(folder) in source.files else ""
    if _config(folder) not in source.files:
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


def _config(folder: str) -> str:
    return f"{folder}/config.json" if folder else "config.json"
