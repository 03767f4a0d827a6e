"""Run stages in this process: the real ones, without the store and the engine."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdbuild.job import decode, stage_of
from sdbuild.plan import Graph, Node
from sdbuild.stages import Place


def run(
    job: object,
    folder: Path,
    news: Callable[[int, int, str], None] = lambda done, total, unit: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Path:
    """Run the stage of a job, whose artifacts are `Found`; its artifact, in ``folder/output``."""
    place = Place(folder / "output", folder / "scratch", news, warn)
    for path in (place.output, place.scratch):
        path.mkdir(parents=True, exist_ok=True)
    importlib.import_module(stage_of(job).code).run(job, place)
    return place.output


def with_paths(node: Node, made: dict[Node, Path]) -> Any:
    """The job of a node as its process gets it, given the artifacts of the nodes that it reads."""
    paths = {item.role: str(made[item.node] / (item.subpath or "")) for item in node.inputs}
    return decode(type(node.job), node.with_paths(paths))


def execute(graph: Graph, folder: Path, *ends: Node) -> dict[Node, Path]:
    """Run what ``ends`` need, or all; the artifact of each node that was run, in a folder called after its task."""
    wanted = set(ends or graph.names)
    for node in reversed(graph.tasks.values()):
        if node in wanted:
            wanted.update(item.node for item in node.inputs)
    made: dict[Node, Path] = {}
    for task, node in graph.tasks.items():
        if node in wanted:
            made[node] = run(with_paths(node, made), folder / task.replace(":", "-"))
    return made
