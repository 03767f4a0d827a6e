"""chunk: a package in two parts of about equal weight."""

from __future__ import annotations

from sdbuild.job import Artifact, stage


@stage("chunk", version=2, title="cut the package in two")
class Chunk:
    """``<name>Chunk1.mlpackage`` and ``<name>Chunk2.mlpackage``."""

    package: Artifact
