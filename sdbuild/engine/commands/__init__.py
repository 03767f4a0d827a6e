"""The commands: each is a file of this folder, found by listing it, and imported when it is asked for.

`engine/commands/` of any other folder in `sdbuild.__path__` counts, too, if it is there before commands are imported.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

import sdbuild
from sdbuild.engine.command import Command

__path__ = [f"{folder}/engine/commands" for folder in sdbuild.__path__]


def names() -> list[str]:
    """The commands there are, in the order of the alphabet; nothing is imported."""
    return sorted(each.name for each in pkgutil.iter_modules(__path__))


def find(name: str) -> Command:
    """The command of a name that `names` has."""
    command = import_module(f"{__name__}.{name}").COMMAND
    assert isinstance(command, Command) and command.name == name, f"COMMAND of {name}.py is another"
    return command


def every() -> list[Command]:
    """All of them, imported."""
    return [find(name) for name in names()]
