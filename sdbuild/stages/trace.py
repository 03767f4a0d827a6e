"""trace: a component's architecture, from its configuration alone, as a graph of ATen operations."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sdbuild.jobs.trace import Trace
from sdbuild.modeling import components
from sdbuild.modeling.building import build
from sdbuild.modeling.checkpoint import read_config
from sdbuild.modeling.tracing import trace
from sdbuild.sources.checks import check_resolution
from sdbuild.stages import Place


def warm() -> None:
    """Import the libraries of every kind: most builds take all of them.

    transformers and diffusers do without SciPy, which they need for losses and schedulers alone, and not for a model's forward.
    Should one insist on it, the server ends, and stages are new processes, where nothing is hidden; nor is it from extensions.
    """
    with _hidden("scipy"):
        for kind in components.own_names():
            components.find(kind)
    for kind in components.names():
        components.find(kind)


@contextmanager
def _hidden(library: str) -> Iterator[None]:
    """Have it look as if it were not installed, to what is imported meanwhile."""
    if library in sys.modules:
        yield
        return
    sys.modules[library] = None  # type: ignore[assignment]  # as the import system has it
    try:
        yield
    finally:
        del sys.modules[library]


def run(job: Trace, place: Place) -> None:
    """Write ``graph.json``."""
    config = read_config(job.config.path)
    if job.image is not None:
        check_resolution(config, job.image.vae_factor, job.image.width, job.image.height)
    trace(build(job.kind, config, job.inputs, job.options), place.output / "graph.json")
