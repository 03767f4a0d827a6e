"""``doit`` in a checkout: everything is handed over to the command `sdbuild`, which lets doit run its tasks.

doit's own reading of a command line would take ``confg=x`` in silence, end in a traceback for ``""``, and has commands and
options that know nothing of recipes and the store.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

from doit import get_initial_workdir
from doit.cmd_base import DodoTaskLoader

from sdbuild.engine import cli
from sdbuild.errors import UsageError, UserError
from sdbuild.program import complain, run_program

DOIT_CONFIG = {"backend": "sqlite3", "dep_file": ":memory:"}  # so that doit leaves no file of its own

_OURS = Path(__file__).resolve().parents[2] / "dodo.py"
_FILE = ("-f", "--file")
_WITH_VALUE = (*_FILE, "--db-file", "--backend")  # of no use here, and no harm
_ALONE = ("-k", "--seek-file", "--no-continue")
_REFUSED = {
    "-a": "artifacts are told apart by what they are made of: there is nothing to force",
    "-s": "a task needs its inputs; name it without -s",
    "-r": "results are reported in one way only",
    "-o": "results are reported on the standard output; write `> FILE`",
    "-d": "results go to the folder that you stand in; go to another one",
    "-P": "stages always run in processes of their own, under threads of doit's; leave it out",
}
_LONG = {
    "--always-execute": "-a",
    "--single": "-s",
    "--reporter": "-r",
    "--output-file": "-o",
    "--dir": "-d",
    "--parallel-type": "-P",
}


class Loader(DodoTaskLoader):  # type: ignore[misc]
    """What `pyproject.toml` has doit start with, before it looks at the command line itself."""

    def __init__(self) -> None:
        """Another file than ours is for doit to read."""
        super().__init__()
        if _file_given(sys.argv[1:]).resolve() == _OURS:
            hand_over()


def task_sdbuild() -> None:
    """Where doit read no `pyproject.toml`, as with ``doit -k`` in a folder below, this is the first it calls."""
    os.chdir(get_initial_workdir() or ".")  # doit went to the folder of dodo.py
    hand_over()


def hand_over() -> NoReturn:
    """Do what doit's command line says, and end the process."""
    cli.start()
    run_program(lambda: run_doits(sys.argv[1:], cli.here()))


def run_doits(argv: Sequence[str], here: Path) -> int:
    """Do what a command line of doit says, for a user who stands in ``here``; the exit status."""
    try:
        return cli.run(own_arguments(argv), here, "doit")
    except UserError as error:
        complain(str(error))
        return error.status


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
            raise UsageError(f"{name}: {_REFUSED[short]}")
        if short in _WITH_VALUE or short in _REFUSED:
            if not equals and argument in (*_WITH_VALUE, *_LONG, "-P"):
                rest[:1] = []
        elif argument not in _ALONE and (argument != "run" or own):
            own.append(argument)
    return own


def _file_given(argv: Sequence[str]) -> Path:
    """The file with tasks that doit would open."""
    for argument, following in zip_longest(argv, argv[1:], fillvalue=""):
        name, equals, value = argument.partition("=")
        if name in _FILE:
            return Path(value if equals else following)
        if argument.startswith("-f"):
            return Path(argument[2:])
    return Path(os.environ.get("DOIT_FILE", "dodo.py"))
