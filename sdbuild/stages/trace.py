"""trace: a component's architecture, from its configuration alone, as a graph of ATen operations."""

from dataclasses import fields

from sdbuild.jobs.trace import Trace
from sdbuild.modeling.checkpoint import read_config
from sdbuild.modeling.components import Shape, build
from sdbuild.modeling.tracing import trace
from sdbuild.sources.checks import check_resolution
from sdbuild.stages import Place


def run(job: Trace, place: Place) -> None:
    """Write ``graph.json``."""
    config = read_config(job.config.path)
    given = {field.name: getattr(job, field.name) for field in fields(Shape)}
    shape = Shape(**{name: value for name, value in given.items() if value is not None})
    if job.kind.startswith("unet"):
        check_resolution(config, shape.vae_factor, shape.width, shape.height)
    trace(build(job.kind, config, shape), place.output / "graph.json")
