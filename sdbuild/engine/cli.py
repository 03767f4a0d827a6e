"""The command ``sdbuild``: what ``doit`` offers beside ``dodo.py``, from any folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import sdbuild
from sdbuild.engine.arguments import Arguments, parse
from sdbuild.engine.commands import command
from sdbuild.engine.progress import complain
from sdbuild.errors import UserError


def main() -> None:
    """The console script."""
    try:
        status = run(sys.argv[1:], Path.cwd())
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # `sdbuild list | head`: nothing more is to be written, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def run(argv: Sequence[str], here: Path) -> int:
    """Do what a command line says, for a user who stands in ``here``; the exit status."""
    if argv and argv[0] in ("help", "--help", "-h"):
        argv = ["list"]
    if list(argv) == ["--version"]:
        print(f"sdbuild {sdbuild.__version__}")
        return 0
    try:
        arguments = parse(argv)
        if arguments.builds:
            return _build(arguments, here)
        command(arguments.words[0], arguments, here)()
    except UserError as error:
        complain(str(error))
        return 1
    return 0


def _build(arguments: Arguments, here: Path) -> int:
    from sdbuild.engine.scheduling import Reporter, run_tasks  # doit takes a while to import
    from sdbuild.engine.tasks import tasks_for

    reporter = Reporter()
    return run_tasks(tasks_for(arguments, here, reporter), reporter, arguments.words or ("build",), arguments.options)
