"""trace: a component's architecture, from its configuration alone, as a ``torch.export`` program."""

from sdbuild.modeling.checkpoint import read_config
from sdbuild.modeling.components import Shape, build
from sdbuild.modeling.tracing import trace
from sdbuild.stages import Job


def run(job: Job) -> None:
    """Write ``graph.pt2``.

    Parameters: ``kind``, and what applies of ``height``, ``width``, ``batch``, ``tokens``, ``vae_factor``, ``attention``.
    Inputs: ``config``, the component's ``config.json``.
    """
    parameters = dict(job.parameters)
    component = build(parameters.pop("kind"), read_config(job.inputs["config"]), Shape(**parameters))
    trace(component, job.output / "graph.pt2")
