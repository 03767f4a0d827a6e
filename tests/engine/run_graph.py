"""Build any graph, without a recipe."""

from collections.abc import Iterable
from pathlib import Path

from sdbuild.engine.arguments import Options
from sdbuild.engine.results import Destination
from sdbuild.engine.scheduling import Reporter, graph_tasks, run_tasks
from sdbuild.engine.session import Session
from sdbuild.engine.summary import outcome
from sdbuild.plan import Graph
from sdbuild.store import Store


def run_graph(graph: Graph, store: Store, here: Path, options: Options, words: Iterable[str] = ("build",)) -> int:
    """Build a graph, or the tasks of it that ``words`` name, for a user who stands in ``here``; the exit status."""
    reporter = Reporter()
    reporter.session = Session(graph, store, Destination(here), options.jobs, whole=True)
    status = run_tasks(graph_tasks(reporter.session), reporter, words, options)
    print(outcome(reporter.session, status).text)
    return status
