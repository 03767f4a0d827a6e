"""The command ``sdbuild``, and ``doit`` in a checkout, which is the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import sdbuild
from sdbuild.engine.arguments import Arguments, parse
from sdbuild.engine.commands import command
from sdbuild.errors import Status, UsageError, UserError
from sdbuild.program import complain, run_program


def main() -> NoReturn:
    """The console script."""
    run_program(lambda: run(sys.argv[1:], here()))


def run(argv: Sequence[str], here: Path) -> int:
    """Do what a command line says, for a user who stands in ``here``; the exit status."""
    if argv[:1] == ["help"] or not {"--help", "-h"}.isdisjoint(argv):
        argv = ["list"]
    if list(argv) == ["--version"]:
        print(f"sdbuild {sdbuild.__version__}")
        return Status.DONE
    try:
        arguments = parse(argv)
        if arguments.builds:
            return _build(arguments, here)
        return command(arguments.words[0], arguments, here)() or Status.DONE
    except UserError as error:
        complain(str(error))
        return error.status


def _build(arguments: Arguments, here: Path) -> int:
    from sdbuild.engine.scheduling import Reporter, run_tasks  # doit takes a while to import
    from sdbuild.engine.tasks import tasks_for

    reporter = Reporter()
    return run_tasks(tasks_for(arguments, here, reporter), reporter, arguments.words or ("build",), arguments.options)


def here() -> Path:
    """Where the user stands. Raises UserError."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the folder that you stand in is gone: go to another one") from None
