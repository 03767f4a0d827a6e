"""What ``dodo.py`` gives doit, and doit's commands that it replaces."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from doit import get_initial_workdir
from doit.cmd_base import Command
from doit.task import Task

from sdbuild.engine import cli
from sdbuild.engine.arguments import parse
from sdbuild.engine.progress import complain
from sdbuild.engine.scheduling import SETTINGS, Reporter
from sdbuild.engine.tasks import tasks_for
from sdbuild.errors import UserError

_REPORTER = Reporter()

DOIT_CONFIG = SETTINGS | {"default_tasks": ["build"], "reporter": _REPORTER}

_COMMANDS = ("run", "list", "clean")
_OF_DOIT = ("help", "info", "forget", "ignore", "dumpdb", "strace", "tabcompletion", "reset-dep")
_WITH_VALUE = ("-f", "--file", "-d", "--dir", "-v", "--verbosity", "--db-file", "--backend", "-o", "--output-file")
_ALONE = ("-k", "--seek-file", "--pdb", "--no-continue")
_REFUSED = {
    "-a": "artifacts are told apart by what they are made of: there is nothing to force",
    "-s": "a task needs its inputs; name it without -s",
    "-r": "results are told one way only",
    "-P": "stages always run in processes of their own, under threads of doit's; leave it out",
}
_LONG = {"--always-execute": "-a", "--single": "-s", "--reporter": "-r", "--parallel-type": "-P"}


def task_sdbuild() -> Iterator[Task]:
    """All tasks. What is wrong with the command line or the recipe ends doit here, with one message and status 1."""
    here = Path(get_initial_workdir() or ".")
    os.chdir(here)  # doit went to the folder of dodo.py
    try:
        argv = own_arguments(sys.argv[1:])
        if _options_at_end(argv):
            raise SystemExit(cli.run(argv, here))
        yield from tasks_for(parse(argv), here, _REPORTER)
    except UserError as error:
        complain(str(error))
        raise SystemExit(1) from None


def _options_at_end(argv: Sequence[str]) -> bool:
    """``doit build -n 2``: doit takes what follows a task's name for the task's own and refuses it."""
    first = next(
        (place for place, argument in enumerate(argv) if argument[:1] != "-" and "=" not in argument), len(argv)
    )
    return any(argument.startswith("-") for argument in argv[first:])


def own_arguments(argv: Sequence[str]) -> list[str]:
    """A command line of doit without what only doit has to know.

    Raises:
        UserError: an option that can't work with these tasks.
    """
    rest = list(argv)
    own: list[str] = []
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        short = _LONG.get(name, name[:2] if name.startswith("-") and not name.startswith("--") else name)
        if short in _REFUSED and "thread" not in (value, argument[2:], *rest[:1]):
            raise UserError(f"{name}: {_REFUSED[short]}")
        if short in _WITH_VALUE or short in _REFUSED:
            if not equals and argument in (*_WITH_VALUE, *_LONG, "-P"):
                rest[:1] = []
        elif argument in _OF_DOIT and not own:
            return []
        elif argument not in _ALONE and (argument != "run" or own):
            own.append(argument)
    return own


class _Replaced(Command):  # type: ignore[misc]
    """A command of doit's that does what ``sdbuild`` does under the same name."""

    def execute(self, opt_values: dict[str, Any], pos_args: list[str]) -> int:
        try:
            return cli.run(own_arguments(sys.argv[1:]), Path.cwd())
        except UserError as error:
            complain(str(error))
            return 1


class List(_Replaced):
    """``doit list``."""

    doc_purpose = "list the recipes that come with sdbuild, and the commands"


class Clean(_Replaced):
    """``doit clean``."""

    doc_purpose = "remove build/<recipe>/"
    doc_usage = "[config=…] [variant=…]"
