"""The tasks of a command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from doit.task import Task

from sdbuild.engine.arguments import BUILDING, COMMANDS, Arguments
from sdbuild.engine.commands import command
from sdbuild.engine.request import find_task, graph_of, load
from sdbuild.engine.scheduling import Action, Reporter, graph_tasks
from sdbuild.engine.session import Session
from sdbuild.plan import STAGES
from sdbuild.store import open_store

_DOITS_OWN = ("list", "clean")  # doit has commands of these names


def tasks_for(arguments: Arguments, here: Path, reporter: Reporter) -> Iterator[Task]:
    """Every task that the command line may name: those of the recipe, if it asks for any, and a task for each command.

    Raises:
        UserError: the recipe has errors, or has no such task.
    """
    for word, text in COMMANDS.items():
        if word not in BUILDING and word not in _DOITS_OWN:
            yield Task(word, [Action(command(word, arguments, here))], doc=text)
    if not arguments.builds:
        yield Task("build", None, doc=COMMANDS["build"], clean=[Action(command("clean", arguments, here))])
        return
    request = load(arguments.variables, here)
    graph = graph_of(request, verified="verify" in arguments.words)
    for word in arguments.words:
        if word != "build" and word not in STAGES:
            find_task(graph, word)
    reporter.session = Session(graph, open_store(), here, arguments.options.jobs, whole=request.whole)
    yield from graph_tasks(reporter.session)
