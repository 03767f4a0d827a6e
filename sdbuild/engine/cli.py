"""The command ``sdbuild``, and ``doit`` in a checkout, which is the same."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import sdbuild
from sdbuild import extensions
from sdbuild.engine import commands
from sdbuild.engine.answer import Answer, document, error_data
from sdbuild.engine.arguments import DEFAULT, parse
from sdbuild.errors import Status, UsageError, UserError
from sdbuild.program import complain, heard, run_program


def main() -> NoReturn:
    """The console script: without a word it prints help, where `doit` alone builds."""
    start()
    run_program(lambda: run(sys.argv[1:] or ["help"], here()))


def start() -> None:
    """What no other program of Python's needs: this one is so short that its end counts.

    Python's own end looks twice through all objects for cycles that could be collected; the system takes all back at once.
    Before its first model pydantic looks through everything that is installed for plugins, which are for other programs.
    """
    atexit.register(gc.freeze)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def run(argv: Sequence[str], here: Path, program: str = "sdbuild") -> int:
    """Do what a command line of ``program`` says, for a user who stands in ``here``; the exit status."""
    if "--version" in argv:
        print(f"sdbuild {sdbuild.__version__}")
        return Status.DONE
    if not {"--json", "--json=1", "json=1"}.isdisjoint(argv):
        return _run_for_json(argv, here, program)
    try:
        answer = _answer(argv, here, program)
    except UserError as error:
        complain(str(error))
        return error.status
    if answer.text:
        print(answer.text)
    return answer.status


def _answer(argv: Sequence[str], here: Path, program: str) -> Answer:
    if extensions.extensions():
        extensions.check()
    arguments = parse(_help_for(argv) if not {"--help", "-h"}.isdisjoint(argv) else argv, here)
    answer = commands.find(arguments.command).run(replace(arguments, program=program), here)
    return answer if isinstance(answer, Answer) else Answer(status=answer or Status.DONE)


def _run_for_json(argv: Sequence[str], here: Path, program: str) -> int:
    """The same with one JSON document on the standard output, however it ends; messages go to the standard error, too."""
    errors: list[dict[str, Any]] = []
    warnings: list[dict[str, Any]] = []
    word = next((word for word in argv if not word.startswith("-") and "=" not in word), DEFAULT)

    def show(answer: Answer) -> None:
        print(document(word, answer, errors, warnings))

    with heard(lambda kind, text: (errors if kind == "error" else warnings).append({"message": text})):
        try:
            answer = _answer(argv, here, program)
        except UserError as error:
            complain(str(error))
            errors[-1:] = [error_data(error)]
            answer = Answer(status=error.status)
        except BaseException as error:
            status = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else Status.FAULT
            if isinstance(error, KeyboardInterrupt):
                status = 128 + signal.SIGINT
            if not errors:
                errors.append({"message": "interrupted" if status > 128 else f"a bug in sdbuild: {error!r}"})
            show(Answer(status=status))
            raise
    show(answer)
    return answer.status


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
