"""measure: what every stage made of a component, against its original in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sdbuild.job import Artifact, stage


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a stage made of the component's package."""

    stage: str
    package: Artifact


@stage("measure", version=4, title="compare what every stage made of a component with PyTorch", tools=("torch",))
class Measure:
    """``measured.json``."""

    name: str
    """Of the component."""
    inputs: tuple[str, ...]
    """Names of its ports."""
    outputs: tuple[str, ...]
    precision: Literal["float16", "float32"]
    """Of the arithmetic."""
    cases: Artifact
    """The component's part of originals."""
    packages: tuple[Written, ...]
    """In the order they were made."""
    compiled: tuple[Artifact, ...]
    """The ``.mlmodelc`` of each model, in the order they run."""
