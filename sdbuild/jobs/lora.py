"""lora: what a LoRA changes of a model, found out from its header before anything large is read."""

from __future__ import annotations

from dataclasses import dataclass

from sdbuild.job import Artifact, stage
from sdbuild.jobs.config import SourceFacts


@dataclass(frozen=True, kw_only=True)
class Built:
    """A component that is built."""

    graph: Artifact
    """What trace made of it."""


@stage(
    "lora",
    version=3,
    title="look at a LoRA: what it changes",
    fetches=True,
    uses=lambda job: (f"sources.{job.source.kind}", "modeling.adapters"),
)
class Lora:
    """``files.json``, the one file to fetch; ``<place>.json``, what it changes of the component that LoRAs call so; and
    ``about.json``.
    """

    source: SourceFacts
    file: str | None
    """Its path in the source; None: the only one."""
    strict: bool
    """Every tensor must be taken."""
    allow_pickle: bool
    pipeline: str
    """The family's title, for messages."""
    built: dict[str, Built]
    """By place: unet, text_encoder, text_encoder_2."""
    others: tuple[str, ...]
    """Places of the family's components that are not built."""
