"""trace: a component's architecture, from its configuration alone, as a graph of ATen operations."""

from sdbuild.modeling.checkpoint import read_config
from sdbuild.modeling.components import Shape, build
from sdbuild.modeling.tracing import trace
from sdbuild.sources.checks import check_resolution
from sdbuild.stages import Job


def run(job: Job) -> None:
    """Write ``graph.json``.

    Parameters: ``kind``, and what applies of ``height``, ``width``, ``batch``, ``tokens``, ``vae_factor``, ``vae_scale``.
    Inputs: ``config``, the component's ``config.json``.
    """
    parameters, config = dict(job.parameters), read_config(job.inputs["config"])
    kind = parameters.pop("kind")
    if kind.startswith("unet"):
        check_resolution(config, parameters["vae_factor"], parameters["width"], parameters["height"])
    trace(build(kind, config, Shape(**parameters)), job.output / "graph.json")
