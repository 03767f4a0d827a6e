"""The build that a command line is about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sdbuild import jobs
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.progress import Display
from sdbuild.engine.request import find_task, graph_of, load
from sdbuild.engine.results import Destination
from sdbuild.engine.session import Session
from sdbuild.errors import UsageError
from sdbuild.store import open_store


def session_for(arguments: Arguments, here: Path, display: Callable[[], Display] | None = None) -> Session:
    """The session with every task that the command line may name; ``display`` makes what shows the progress.

    Raises:
        UserError: the recipe has errors, or has no such task.
    """
    request = load(arguments.variables, here)
    graph = graph_of(request, verified="verify" in arguments.words)
    known, stages = jobs.names(), {node.stage.name for node in graph.tasks.values()}
    for word in arguments.words:
        if word in known and word not in stages:
            raise UsageError(f"{request.recipes[0].name} has no task of the stage {word}")
        if word != "build" and word not in known:
            find_task(graph, word)
    return Session(
        graph,
        open_store(),
        Destination.of(arguments.variables, here),
        arguments.options.jobs,
        whole=request.whole,
        display=display,
        verbose=arguments.options.verbose,
    )
