"""convert: a traced graph and a checkpoint to a float package; the weights stream through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sdbuild.job import Artifact, stage
from sdbuild.opset import Opset
from sdbuild.overlay import Overlays, code_of


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input or output of a model."""

    name: str
    dtype: str
    description: str


@stage(
    "convert",
    version=6,
    title="write an ML Program with the weights",
    tools=("numpy",),
    uses=lambda job: code_of(job.overlays),
)
class Convert:
    """``<package>.mlpackage``."""

    package: str
    """Its name."""
    opset: Opset
    precision: Literal["float16", "float32"]
    """Of weights and arithmetic."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: dict[str, str]
    """What Xcode shows: description, author, license, version; the card says the last three where this does not."""
    attention: str | None = None
    """How it is written, in what has any that can be written in several ways."""
    trace: Artifact
    weights: Artifact
    overlays: Overlays = field(default_factory=dict)
    """What is laid over the weights."""
    card: Artifact
    """What config found of author, license and version."""
