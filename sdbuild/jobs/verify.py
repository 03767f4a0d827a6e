"""verify: what is about to ship, against PyTorch; a build that falls short of what its recipe asks for fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sdbuild.job import Artifact, stage
from sdbuild.wiring import Part, Sizes


@dataclass(frozen=True, kw_only=True)
class Built:
    """A component that ships."""

    name: str
    part: Part
    """What it does in the pipeline."""
    inputs: tuple[str, ...]
    """Names of its ports."""
    outputs: tuple[str, ...]
    config: Artifact
    """Its ``config.json``."""
    compiled: tuple[Artifact, ...]
    """The ``.mlmodelc`` of each model, in the order they run."""
    measured: Artifact
    """What measure found."""


@stage(
    "verify",
    version=7,
    title="generate an image with what ships, and judge",
    tools=("torch", "diffusers"),
)
class Verify:
    """``verify.json``, and the same as text, ``verify.txt``."""

    components: tuple[Built, ...]
    """In the order they run."""
    originals: Artifact
    sizes: Sizes
    steps: int
    """Of the scheduler."""
    scheduler_overrides: dict[str, Any]
    """The family's."""
    precision: Literal["float16", "float32"]
    """Of the arithmetic."""
    image: bool
    """Whether the bundle is to generate an image, too, where the components are all that it takes."""
    min_psnr: dict[str, float]
    """In dB, by component, and for "image"."""
    min_converted_psnr: float
    """In dB, of convert."""
    guidance: float = 7.5
    """Of the image; up to 1 the prompt alone counts."""
    scheduler_name: str | None = None
    """The recipe's; None: the model's own."""
    embeddings: Artifact | None = None
    """What config recorded of learned embeddings: their tokens are put into a prompt."""
