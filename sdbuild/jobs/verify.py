"""verify: what is about to ship, against PyTorch; a build that falls short of what its recipe asks for fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sdbuild.job import Artifact, stage
from sdbuild.jobs.originals import Sizes


@dataclass(frozen=True, kw_only=True)
class Built:
    """A component that ships."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    """Names of its ports."""
    outputs: tuple[str, ...]
    config: Artifact
    """Its ``config.json``."""
    tokenizer: Artifact | None = None
    """Of a text encoder: the folder."""
    compiled: tuple[Artifact, ...]
    """The ``.mlmodelc`` of each model, in the order they run."""
    measured: Artifact
    """What measure found."""


@stage(
    "verify",
    version=5,
    title="generate an image with what ships, and judge",
    tools=("torch", "diffusers", "transformers"),
)
class Verify:
    """``verify.json``, and the same as text, ``verify.txt``."""

    components: tuple[Built, ...]
    """In the order they run."""
    originals: Artifact
    sizes: Sizes
    steps: int
    """Of the scheduler."""
    precision: Literal["float16", "float32"]
    """Of the arithmetic."""
    image: bool
    """Whether the bundle is to generate an image, too, where the components are all that it takes."""
    min_psnr: dict[str, float]
    """In dB, by component, and for "image"."""
    min_converted_psnr: float
    """In dB, of convert."""
