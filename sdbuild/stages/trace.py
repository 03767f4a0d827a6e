"""trace: a component's architecture, from its configuration alone, as a graph of ATen operations."""

from sdbuild.jobs.trace import Trace
from sdbuild.modeling import components
from sdbuild.modeling.building import build
from sdbuild.modeling.checkpoint import read_config
from sdbuild.modeling.tracing import trace
from sdbuild.sources.checks import check_resolution
from sdbuild.stages import Place


def warm() -> None:
    """Import the libraries of every kind: most builds take all of them."""
    for kind in components.names():
        components.find(kind)


def run(job: Trace, place: Place) -> None:
    """Write ``graph.json``."""
    config = read_config(job.config.path)
    if job.image is not None:
        check_resolution(config, job.image.vae_factor, job.image.width, job.image.height)
    trace(build(job.kind, config, job.inputs, job.options), place.output / "graph.json")
