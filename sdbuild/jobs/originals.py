"""originals: what PyTorch gives for the inputs that an image meets; what was built of the same model is compared with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sdbuild.job import Artifact, stage
from sdbuild.overlay import Overlays, code_of
from sdbuild.wiring import Part, Sizes


@dataclass(frozen=True, kw_only=True)
class Original:
    """A component."""

    name: str
    kind: str
    options: dict[str, Any]
    """Of the kind."""
    part: Part
    """What it does in the pipeline."""
    inputs: tuple[str, ...]
    """Names of its ports."""
    outputs: tuple[str, ...]
    config: Artifact
    """Its ``config.json``."""
    weights: Artifact
    """What download made."""
    overlays: Overlays = field(default_factory=dict)
    """What is laid over the weights: it belongs to the model that is built, so to its original as well."""
    tokenizer: Artifact | None = None
    """Of a text encoder: the folder."""


def _uses(job: Originals) -> set[str]:
    return {f"verify.originals.{each.kind}" for each in job.components}.union(
        *(code_of(each.overlays) for each in job.components)
    )


@stage(
    "originals",
    version=4,
    title="run the originals in PyTorch",
    tools=("torch", "diffusers", "transformers"),
    uses=_uses,
)
class Originals:
    """The cases of each component, in a folder of its name, and ``scheduler.json``, what the image is generated with."""

    components: tuple[Original, ...]
    """In the order they run."""
    sizes: Sizes
    steps: int
    """Of the scheduler."""
    scheduler_overrides: dict[str, Any]
    """The family's."""
    scheduler: Artifact
    """Its configuration."""
    guidance: float = 7.5
    """Of the image; up to 1 the prompt alone counts."""
    scheduler_name: str | None = None
    """The recipe's; None: the model's own."""
    embeddings: Artifact | None = None
    """What config recorded of learned embeddings: their tokens are put into a prompt."""
