"""download: one model's weight files, verified."""

from __future__ import annotations

from sdbuild.job import Artifact, stage
from sdbuild.jobs.config import SourceFacts


@stage(
    "download",
    version=1,
    title="fetch the weight files",
    fetches=True,
    uses=lambda job: (f"sources.{job.source.kind}",),
)
class Download:
    """The weight files, and ``files.json`` with their sizes and SHA-256. Those of a local folder are links."""

    source: SourceFacts
    files: Artifact
    """The model's ``files.json`` of config."""
