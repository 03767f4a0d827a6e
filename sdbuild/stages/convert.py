"""convert: a traced graph and a checkpoint to a float package; the weights stream through."""

import json
from dataclasses import asdict

from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.graphs import read_graph
from sdbuild.jobs.convert import Convert
from sdbuild.modeling.weights import HalfWeights, open_weights
from sdbuild.sources.base import shown
from sdbuild.stages import Place


def run(job: Convert, place: Place) -> None:
    """Write the package."""
    card = json.loads(job.card.path.read_text(encoding="utf-8"))
    graph = read_graph(job.trace.path / "graph.json")
    weights = open_weights(job.weights.path, job.overlays, graph.parameters)
    if marks := weights.check(graph.parameters, graph.used):
        place.warn(
            f"the weights of {job.package} hold {', '.join(map(shown, marks))}, without a number inside: marks that "
            "sdbuild doesn't know, so that what they say is not heeded"
        )
    convert(
        graph,
        weights.load,
        place.output / f"{job.package}.mlpackage",
        inputs=[Port(**asdict(port)) for port in job.inputs],
        outputs=[Port(**asdict(port)) for port in job.outputs],
        opset=job.opset,
        precision=job.precision,
        attention=job.attention or "original",
        metadata=Metadata(**card | job.metadata),
        progress=lambda done, total: place.progress(done, total, "tensors"),
        load_half=weights.load_half if isinstance(weights, HalfWeights) else None,
    )
