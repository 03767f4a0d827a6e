"""The commands: each is a file of this folder, found by listing it, and imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from sdbuild import extensions
from sdbuild.engine.command import Command

__path__ = extensions.folders(__name__)


def names() -> list[str]:
    """The commands there are, in the order of the alphabet; nothing is imported."""
    return extensions.names(__path__)


def find(name: str) -> Command:
    """The command of a name that `names` has."""
    command = import_module(f"{__name__}.{name}").COMMAND
    assert isinstance(command, Command) and command.name == name, f"COMMAND of {name}.py is another"
    return command


def every() -> list[Command]:
    """All of them, imported."""
    return [find(name) for name in names()]
