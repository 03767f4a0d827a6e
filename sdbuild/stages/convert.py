"""convert: a traced graph and a checkpoint to a float package; the weights stream through."""

import json

from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.graphs import read_graph
from sdbuild.modeling.checkpoint import Checkpoint, weight_files
from sdbuild.opset import Opset
from sdbuild.sources.base import shown
from sdbuild.stages import Job


def run(job: Job) -> None:
    """Write ``<package>.mlpackage``.

    Parameters: ``package`` (its name), ``opset``, ``precision``, ``attention`` (of what has any that can be written in several
    ways), ``inputs`` and ``outputs`` (lists of name, dtype and description), ``metadata`` (description, author, license,
    version, user). Inputs: ``trace``, ``weights`` and ``card``, what config found of author, license and version, where
    ``metadata`` does not say them.
    """
    parameters = job.parameters
    card = json.loads(job.inputs["card"].read_text(encoding="utf-8"))
    graph = read_graph(job.inputs["trace"] / "graph.json")
    checkpoint = Checkpoint(weight_files(job.inputs["weights"]))
    if marks := checkpoint.check(graph.parameters, graph.used):
        job.warn(
            f"the weights of {parameters['package']} hold {', '.join(map(shown, marks))}, without a number inside: marks that "
            "sdbuild doesn't know, so that what they say is not heeded"
        )
    convert(
        graph,
        checkpoint.load,
        job.output / f"{parameters['package']}.mlpackage",
        inputs=[Port(**port) for port in parameters["inputs"]],
        outputs=[Port(**port) for port in parameters["outputs"]],
        opset=Opset(parameters["opset"]),
        precision=parameters["precision"],
        attention=parameters.get("attention", "original"),
        metadata=Metadata(**card | parameters["metadata"]),
        progress=lambda done, total: job.progress(done, total, "tensors"),
    )
