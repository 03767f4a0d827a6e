"""chunk: a package in two parts of about equal weight."""

from sdbuild.coreml.chunk import chunk
from sdbuild.coreml.package import read_package
from sdbuild.stages import Job, packages_in


def run(job: Job) -> None:
    """Write ``<name>Chunk1.mlpackage`` and ``<name>Chunk2.mlpackage``. Inputs: ``package``."""
    (source,) = packages_in(job.inputs["package"])
    first, second = (job.output / f"{source.stem}Chunk{number}.mlpackage" for number in (1, 2))
    chunk(read_package(source), first, second, lambda done, total: job.progress(done, total, "B"))
