"""The components of one pipeline, and the way through them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.flow.conditions import Condition, size_condition
from sdbuild.flow.denoise import begin, count_runs, denoise
from sdbuild.flow.facts import Facts
from sdbuild.flow.noise import Noise
from sdbuild.flow.rehearsal import rehearse
from sdbuild.flow.schedulers import make_scheduler
from sdbuild.modeling.checkpoint import read_config
from sdbuild.networks import Network
from sdbuild.overlay import Overlays
from sdbuild.scheduler_kinds import SCHEDULERS, own_kind
from sdbuild.verify.artifact import Made
from sdbuild.verify.generation import Generation
from sdbuild.wiring import Part

PROMPTS = {
    "negative prompt": "blurry, low quality",
    "prompt": "a large red circle on a blue background",
    "empty prompt": "",
    "scene": "a photograph of an astronaut riding a horse on the moon, 35mm, golden hour",
    "long prompt": "an oil painting of a lighthouse above a stormy sea, gulls in the wind, " * 8,
}
"""What text encoders are given, by name: the first two are those of the image, the last is longer than they take. Words that
the model has learned are added to one of them, see `Pipeline.prompts`."""

PROMPTED = ("negative prompt", "prompt")
"""Those that the denoiser is given, in this order; the first with guidance alone."""


@dataclass(frozen=True, kw_only=True)
class Subject(Made):
    """A component in its pipeline, and its original."""

    part: Part
    """What it does there."""
    config: Path
    """Its ``config.json``."""
    kind: str = ""
    """Of `sdbuild.modeling.components`; "" where the original is not run."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the kind."""
    weights: Path | None = None
    """The folder of its weight files; None where the original is not run."""
    overlays: Overlays = field(default_factory=dict)
    """What is laid over them."""
    tokenizer: Path | None = None
    """Of a text encoder whose original is run: the folder of ``vocab.json`` and ``merges.txt``."""


@dataclass(frozen=True)
class Pipeline:
    """What is built of a pipeline, in the order it runs, and what to generate with it."""

    subjects: Sequence[Subject]
    generation: Generation
    learned: tuple[str, ...] = ()
    """Tokens of learned embeddings."""

    @property
    def prompts(self) -> dict[str, str]:
        """What text encoders are given: `PROMPTS`, and in that of the image every learned word."""
        return PROMPTS | {"prompt": ", ".join([PROMPTS["prompt"], *self.learned])}

    @property
    def prompted(self) -> tuple[str, ...]:
        """The names of the prompts that the denoiser is given: `PROMPTED`, or without guidance the last of these alone."""
        return PROMPTED if self.generation.guided else PROMPTED[-1:]

    @cached_property
    def facts(self) -> Facts:
        """What its flow goes by."""
        generation = self.generation
        return Facts(
            **asdict(generation.sizes),
            scheduler=generation.scheduler,
            scheduler_overrides=generation.scheduler_overrides,
            parts=tuple(subject.part for subject in self.subjects),
        )

    def subject(self, part: Part) -> Subject:
        """The component that plays a part."""
        return next(subject for subject in self.subjects if subject.part is part)

    @property
    def generates(self) -> bool:
        """Whether it has all that an image takes."""
        return bool(self._speaks and self.facts.decoder)

    @cached_property
    def _speaks(self) -> bool:
        """Whether the denoiser's text encoders are all there."""
        facts = self.facts
        if facts.denoiser is None or not facts.text_encoders:
            return False
        widths = [self._config(part).get("hidden_size", 512) for part in facts.text_encoders]
        return bool(sum(widths) == _context_width(self._config(facts.denoiser)))

    def latents(self, network: Network, encoded: Sequence[Condition]) -> Array:
        """The latent image [1, channels, h, w] that the denoiser's network makes.

        ``encoded`` are the conditions of the prompts that are `prompted`; where its text encoders are not all there, normal
        numbers stand for them.
        """
        facts, generation = self.facts, self.generation
        assert facts.denoiser is not None
        noise, scheduler = Noise("numpy", generation.seed), self._scheduler()
        return denoise(
            network,
            facts.denoiser,
            facts.batch,
            scheduler,
            encoded if self._speaks else self._arbitrary(facts.denoiser),
            generation.guidance,
            begin(scheduler, noise, facts.latent_shape),
            noise.generator,
        )

    def denoiser_runs(self) -> int:
        """How often `latents` runs the network."""
        return count_runs(self._scheduler(), self.facts.batch, len(self.prompted))

    def _scheduler(self) -> Any:
        numbers, name = self.facts.scheduler, self.generation.scheduler_name
        kind = own_kind(numbers) if name is None else SCHEDULERS[name]
        make = partial(make_scheduler, kind, numbers, self.generation.steps, self.facts.scheduler_overrides)
        rehearse(make(), self.generation.steps)
        return make()

    def _arbitrary(self, denoiser: Part) -> list[Condition]:
        """Normal numbers in the form of conditions, for a denoiser that is built without its text encoders."""
        config, random = self._config(denoiser), np.random.RandomState(self.generation.seed)
        given: dict[str, tuple[int, ...]] = {"hidden": (2, _context_width(config), 1, self.facts.tokens)}
        sizes = size_condition(self.facts)
        if denoiser.input("pooled"):
            numbers = sum(array.size for array in sizes.values()) * config["addition_time_embed_dim"]
            given["pooled"] = (2, config["projection_class_embeddings_input_dim"] - numbers)
        normal = {signal: random.standard_normal(shape).astype(np.float32) for signal, shape in given.items()}
        rows: list[Condition] = [
            {signal: array[row : row + 1] for signal, array in normal.items()} | sizes for row in range(2)
        ]
        return rows[-len(self.prompted) :]

    def _config(self, part: Part) -> dict[str, Any]:
        return read_config(self.subject(part).config)


def _context_width(denoiser: Mapping[str, Any]) -> int:
    """What a denoiser attends to; diffusers' default where its configuration is silent."""
    width: int = denoiser.get("cross_attention_dim", 1280)
    return width
