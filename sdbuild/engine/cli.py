"""The command ``sdbuild``, and ``doit`` in a checkout, which is the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import sdbuild
from sdbuild.engine import commands
from sdbuild.engine.arguments import parse
from sdbuild.errors import Status, UsageError, UserError
from sdbuild.program import complain, run_program


def main() -> NoReturn:
    """The console script: without a word it prints help, where `doit` alone builds."""
    run_program(lambda: run(sys.argv[1:] or ["help"], here()))


def run(argv: Sequence[str], here: Path) -> int:
    """Do what a command line says, for a user who stands in ``here``; the exit status."""
    if "--version" in argv:
        print(f"sdbuild {sdbuild.__version__}")
        return Status.DONE
    try:
        arguments = parse(_help_for(argv) if not {"--help", "-h"}.isdisjoint(argv) else argv, here)
        return commands.find(arguments.command).run(arguments, here) or Status.DONE
    except UserError as error:
        complain(str(error))
        return error.status


def _help_for(argv: Sequence[str]) -> list[str]:
    """The line that asks for help on the command of another line."""
    words = [word for word in argv if word and not word.startswith("-") and "=" not in word and word != "help"]
    return ["help", *words[:1]]


def here() -> Path:
    """Where the user stands. Raises UserError."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the folder that you stand in is gone: go to another one") from None
