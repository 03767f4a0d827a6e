"""The tasks that a command line names are done. doit runs them, where there is anything to run."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from sdbuild.engine.arguments import Options
from sdbuild.engine.session import Session, results_task
from sdbuild.errors import Status, UserError
from sdbuild.plan import Graph
from sdbuild.program import complain


def do_tasks(session: Session, words: Iterable[str], options: Options) -> int:
    """Do the tasks that ``words`` name, and what they need; the exit status. Raises UserError if the store can't be used."""
    words = list(words)
    with closing(session):
        session.open(_needed(session.graph, words))
        if session.is_all_done():
            return _finished(session)
        from sdbuild.engine.scheduling import run_tasks  # doit takes a while to import

        return run_tasks(session, words, options)


def _finished(session: Session) -> int:
    try:
        session.finish()
    except UserError as error:
        complain(str(error))
        return error.status
    return Status.DONE


def _needed(graph: Graph, words: Iterable[str]) -> frozenset[str]:
    """The tasks that are asked for by `build`, their names or their stages', and those that they need."""
    found: set[str] = set()
    pending = []
    for word in words:
        if word == "build":
            found.update(map(results_task, graph.builds))
            pending += [build.result for build in graph.builds]
        elif word in graph.tasks:
            pending.append(graph.tasks[word])
        else:
            pending += [node for node in graph.tasks.values() if node.stage.name == word]
    while pending:
        node = pending.pop()
        if graph.names[node] not in found:
            found.add(graph.names[node])
            pending += [item.node for item in node.inputs]
    return frozenset(found)
