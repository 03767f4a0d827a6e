"""The plan's first section: what is read of the model's sources."""

from __future__ import annotations

from functools import cached_property

from sdbuild.jobs.config import Config, Embedding, SingleFile, Wanted
from sdbuild.jobs.download import Download
from sdbuild.plan.graph import Node, Part
from sdbuild.plan.scope import Scope
from sdbuild.plan.sources import embedding_facts, place_of, source_facts


class Sourcing:
    """Configurations, tokenizers and weights."""

    def __init__(self, scope: Scope) -> None:
        """Of the models of a recipe; ``scope`` is its early one."""
        self.scope = scope
        self._downloads: dict[tuple[str, str], Node] = {}

    @cached_property
    def config(self) -> Node:
        """The small files of all sources."""
        scope, recipe, family = self.scope, self.scope.recipe, self.scope.family
        components = scope.components.values()
        encoders, denoiser = family.text_encoders.values(), family.denoiser
        own = [*(each.folder for each in (*components, *encoders)), *family.tokenizers, family.scheduler]
        others = {
            key: source_facts(source, scope.files, ["", *(each.folder for each in components if each.source == key)])
            for key, source in recipe.model.others.items()
        }
        return scope.node(
            Config(
                source=source_facts(recipe.model.source, scope.files, ["", *own]),
                others=others,
                single_file=self._single_file(own),
                allow_pickle=recipe.model.allow_pickle,
                variant=recipe.model.variant,
                components={
                    name: Wanted(folder=each.folder, model_class=each.model_class, role=each.role, source=each.source)
                    for name, each in scope.components.items()
                },
                pipeline=family.name,
                encoders={part.folder: part.model_class for part in encoders},
                tokenizers=family.tokenizers,
                scheduler=family.scheduler,
                vae_factor=family.vae_factor,
                vae_scale=family.vae_scale,
                latent_channels=family.latent_channels,
                tokens=family.tokens,
                image_sizes=int(denoiser.options.get("image_sizes", 0)) if denoiser is not None else 0,
                latent_statistics=family.latent_statistics,
                precision=self._precision_to_judge,
                guidance_embedding=recipe.model.guidance_embedding is not None,
                scheduler_changes=recipe.model.scheduler,
                embeddings=self._embeddings,
            )
        )

    def _single_file(self, folders: list[str]) -> SingleFile | None:
        """What is said of single files, where there are some. ``folders`` are a pipeline's."""
        model, family, config = self.scope.recipe.model, self.scope.family, self.scope.recipe.model.config
        if not any(source.single for source in model.named.values()):
            return None
        return SingleFile(
            scheduler=dict(family.single_file.scheduler),
            usual_prediction=family.single_file.prediction_type,
            pipeline_class=f"{family.recognise.pipelines[0]}Pipeline",
            prediction_type=model.prediction_type,
            zero_terminal_snr=model.zero_terminal_snr,
            ema=model.ema,
            config=source_facts(config, self.scope.files, ["", *folders]) if config is not None else None,
        )

    @property
    def _precision_to_judge(self) -> dict[str, str]:
        """Of VAEs that the hub alone knows: those whose own word on float16 may speak against what will be built."""
        recipe = self.scope.recipe
        open_to_advice = [
            name
            for name, component in self.scope.components.items()
            if component.precision == recipe.family.components[name].precision == "float32"
            and name not in recipe.precisions_said
        ]
        names = [*recipe.at_risk_in_float16, *open_to_advice]
        return {name: recipe.precision(name) for name in names if recipe.source_of(name).remote}

    def of(self, component: str, file: str) -> Part:
        """What config found of a component: ``config.json``, ``files.json`` or ``card.json``."""
        return self.config.part(f"components/{component}/{file}")

    def weights(self, component: str) -> Node | Part:
        """A component's weights: their download or, of a single file, the part of it that is the component's.

        Components that lie in one folder of one source share a download, as do those in one file; it is called after the first
        of them.
        """
        recipe, own = self.scope.recipe, self.scope.components[component]
        place = place_of(recipe, own)
        if place not in self._downloads:
            self._downloads[place] = self._download(place)
        download = self._downloads[place]
        return download.part(own.folder) if recipe.source_of(component).single else download

    def weight_record(self, component: str) -> Part:
        """The ``files.json`` beside a component's weights."""
        weights = self.weights(component)
        return (
            weights.node.part(f"{weights.subpath}/files.json")
            if isinstance(weights, Part)
            else weights.part("files.json")
        )

    def _download(self, place: tuple[str, str]) -> Node:
        scope, recipe = self.scope, self.scope.recipe
        first, own = next(item for item in scope.components.items() if place_of(recipe, item[1]) == place)
        facts = source_facts(recipe.model.named[place[0]], scope.files, [own.folder])
        job = Download(source=facts, files=self.of(first, "files.json"))
        return scope.node(job, first, scope.estimates.download(own))

    @property
    def tokenizers(self) -> tuple[Part, ...]:
        """The folders of all tokenizers."""
        return tuple(self.config.part(folder) for folder in self.scope.family.tokenizers)

    def tokenizer(self, component: str) -> Part | None:
        """That of a text encoder."""
        folder = self.scope.components[component].tokenizer
        return self.config.part(folder) if folder is not None else None

    @property
    def _embeddings(self) -> tuple[Embedding, ...]:
        known = {each.token: embedding_facts(each, self.scope.files) for each in self.scope.recipe.model.embeddings}
        return tuple(Embedding(token=token, source=facts, file=file) for token, (facts, file) in known.items())

    @property
    def embeddings(self) -> Part | None:
        """What config recorded of learned embeddings, where there are any."""
        return self.config.part("embeddings.json") if self.scope.recipe.model.embeddings else None

    @property
    def scheduler(self) -> Part:
        """The scheduler's configuration."""
        return self.config.part(f"{self.scope.family.scheduler}/scheduler_config.json")
