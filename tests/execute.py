"""Run a plan's stages one after the other in this process: the real stages, without the store and the engine."""

import importlib
from pathlib import Path

from sdbuild.plan import Graph, Node
from sdbuild.stages import Job


def execute(graph: Graph, folder: Path, *ends: Node) -> dict[Node, Path]:
    """Run what ``ends`` need, or all; the artifact of each node that was run, in a folder called after its task."""
    wanted = set(ends or graph.names)
    for node in reversed(graph.tasks.values()):
        if node in wanted:
            wanted.update(item.node for item in node.inputs)
    made: dict[Node, Path] = {}
    for task, node in graph.tasks.items():
        if node not in wanted:
            continue
        output, scratch = folder / task.replace(":", "-"), folder / "scratch"
        for path in (output, scratch):
            path.mkdir(parents=True, exist_ok=True)
        inputs = {item.role: made[item.node] / (item.subpath or "") for item in node.inputs}
        job = Job(node.settings, inputs, output, scratch, lambda done, total, unit: None)
        importlib.import_module(node.stage.code).run(job)
        made[node] = output
    return made
