"""chunk: a package in two parts of about equal weight."""

from sdbuild.coreml.chunk import chunk
from sdbuild.coreml.package import read_package
from sdbuild.jobs.chunk import Chunk
from sdbuild.stages import Place, packages_in


def run(job: Chunk, place: Place) -> None:
    """Write both packages."""
    (source,) = packages_in(job.package.path)
    first, second = (place.output / f"{source.stem}Chunk{number}.mlpackage" for number in (1, 2))
    chunk(read_package(source), first, second, lambda done, total: place.progress(done, total, "B"))
