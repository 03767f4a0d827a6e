"""compile: a package to the ``.mlmodelc`` folder that apps load, by the portable compiler or by Xcode's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sdbuild.job import Artifact, stage


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """Which one a build uses."""

    compiler: Literal["portable", "xcode"]
    version: str | None = None
    """Of Xcode."""


@stage("compile", version=1, title="compile the package to what apps load", links=True)
class Compile:
    """``<package>.mlmodelc``."""

    compiler: Compiler
    package: Artifact
