"""compress: the recipe's steps, applied to a package's weights a few tensors at a time."""

from __future__ import annotations

from typing import Any

from sdbuild.job import Artifact, stage


@stage(
    "compress",
    version=3,
    title="compress the weights",
    tools=lambda job: job.tools,
    uses=lambda job: [f"compress.steps.{kind}" for kind in job.versions],
)
class Compress:
    """The package with other weights."""

    steps: tuple[dict[str, dict[str, Any]], ...]
    """Mappings of one key, such as ``{"palettize": {"bits": 6, …}}``, with all options."""
    versions: dict[str, int]
    """Of the code of the steps, by name."""
    tools: tuple[str, ...]
    """Distributions that show in what the steps write."""
    package: Artifact
    """With the parameters' names beside it."""
