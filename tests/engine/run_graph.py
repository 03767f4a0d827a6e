"""Build any graph, without a recipe."""

from collections.abc import Iterable
from pathlib import Path

from sdbuild.engine.arguments import Options
from sdbuild.engine.building import do_tasks
from sdbuild.engine.results import Destination
from sdbuild.engine.session import Session
from sdbuild.engine.summary import outcome
from sdbuild.plan import Graph
from sdbuild.store import Store


def run_graph(graph: Graph, store: Store, here: Path, options: Options, words: Iterable[str] = ("build",)) -> int:
    """Build a graph, or the tasks of it that ``words`` name, for a user who stands in ``here``; the exit status."""
    session = Session(graph, store, Destination(here), options.jobs, whole=True)
    status = do_tasks(session, words, options)
    print(outcome(session, status, keep_going=options.keep_going).text)
    return status
