"""bundle: the Resources folder for Apple's Swift package: put together, checked, described and, if asked for, zipped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sdbuild.job import Artifact, stage
from sdbuild.jobs.compile import Compiler
from sdbuild.wiring import Part, Sizes


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A component."""

    precision: str
    compress: tuple[dict[str, Any], ...]
    """Steps, as the recipe has them."""
    origin: dict[str, str]
    """Where its weights are from, by the kind of source: {"hub": id}; {"local": ""} where only their content can say it."""
    models: dict[str, Artifact]
    """Swift name → ``.mlmodelc``."""
    files: Artifact
    """What config recorded of its weight files."""
    weights: Artifact | None = None
    """Of a local one: what download recorded of them."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A LoRA that the weights have in them."""

    origin: dict[str, str]
    """As for a component."""
    weight: dict[str, Any]
    """By component, or under * one for all."""
    blocks: tuple[float, ...] | None
    found: Artifact
    """What the stage lora recorded of its file."""
    file: Artifact
    """What download did."""
    about: Artifact | None = None
    """What the stage lora says of it: what it wants of whoever generates, among other things."""


@stage(
    "bundle",
    version=5,
    title="put Resources together and check them",
    links=True,
    uses=lambda job: (f"bundle.contracts.{job.contract}",),
)
class Bundle:
    """``Resources/``, ``manifest.json`` and, if asked for, ``<zip>.zip``."""

    pipeline: str
    """The family's name."""
    contract: str
    """What the Swift package asks of the bundle: one of `sdbuild.bundle.contracts`."""
    networks: tuple[Part, ...]
    """What the components do in the pipeline, in the order they run."""
    scheduler_overrides: dict[str, Any]
    """The family's."""
    components: dict[str, Shipped]
    sizes: Sizes
    attention: str
    compute_units: str
    os: str
    """Deployment target."""
    compiler: Compiler
    tools: dict[str, str]
    """Versions of the distributions that show in what ships."""
    zip: str | None
    """The archive's stem."""
    tokenizers: tuple[Artifact, ...]
    """Folders; the first one's files are taken."""
    scheduler: Artifact
    """As config settled it."""
    notes: Artifact
    """Likewise."""
    denoiser: Artifact | None = None
    """Its weights, for the marks among them."""
    loras: dict[str, Merged] = field(default_factory=dict)
    """By name."""
    verified: Artifact | None = None
    """What verify found, if that ran; it is shown beside the bundle."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Of whoever generates: steps, guidance and scheduler, where the recipe says them."""
    guidance_embedding: float | None = None
    """The guidance scale that the denoiser was built with, where it takes one."""
    embeddings: Artifact | None = None
    """What config recorded of learned embeddings."""
