"""What could complete a command line: commands, variables and their values, tasks, options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sdbuild import jobs
from sdbuild.engine import commands
from sdbuild.engine.arguments import DEFAULT, OPTIONS, is_task
from sdbuild.engine.command import Command, Variable
from sdbuild.errors import UserError
from sdbuild.recipe.files import configs_folder, names_in

_YAML = (".yaml", ".yml")
_ANYWHERE = ("-h", "--help")


def candidates(words: Sequence[str], here: Path) -> list[str]:
    """All that the last of ``words`` could become, for a user who stands in ``here``; an empty one could become anything.

    What ends in ``=`` or ``/`` is not a whole word yet.
    """
    *before, current = words or [""]
    given = _given(before)
    command = _command(before)
    if not current.startswith("-") and before and (variable := _wants_value(before[-1], command)):
        found: Iterable[str] = _values(variable, current, given, here)
    elif "=" in current:
        name, _, value = current.partition("=")
        variable = command.variable(name.removeprefix("--")) if command else None
        found = (f"{name}={each}" for each in _values(variable, value, given, here)) if variable else ()
    elif current.startswith("-"):
        found = _options(command, given)
    elif command is None:
        found = [*commands.names(), *jobs.names()]
    else:
        found = _words(command, current, given, here)
    return sorted({each for each in found if each.startswith(current)})


def _command(words: Sequence[str]) -> Command | None:
    for word in words:
        if word in commands.names():
            return commands.find(word)
        if is_task(word):
            return commands.find(DEFAULT)
    return None


def _given(words: Sequence[str]) -> dict[str, str]:
    """The variables that a line has so far, as far as they matter here: unlike `parse`, it takes anything."""
    found = {}
    command = _command(words)
    for index, word in enumerate(words):
        name, equals, value = word.removeprefix("--").partition("=")
        if equals:
            found[name] = value
        elif index and (variable := _wants_value(words[index - 1], command)):
            found[variable.name] = word
        elif command and command.bare and not word.startswith("-") and word != command.name and not is_task(word):
            found.setdefault(command.bare.name, word)
    return found


def _wants_value(word: str, command: Command | None) -> Variable | None:
    """The variable whose value follows a word, as in ``--config``."""
    variable = command.variable(word[2:]) if command and word.startswith("--") else None
    return variable if variable and not variable.switch else None


def _options(command: Command | None, given: Iterable[str]) -> list[str]:
    if command is None:
        return [*_ANYWHERE, "--version"]
    names = [f"--{variable.name}" for variable in command.variables if variable.name not in given]
    own = [word for form, _ in OPTIONS for word in form.replace(" N", "").split(", ")] if command.builds else []
    return [*_ANYWHERE, *names, *own]


def _words(command: Command, current: str, given: dict[str, str], here: Path) -> Iterable[str]:
    """What may follow a command as a word: values that stand alone, names of variables, tasks."""
    found = [f"{variable.name}=" for variable in command.variables if variable.name not in given]
    if command.bare and command.bare.name not in given:
        found += _values(command.bare, current, given, here)
    if task := (command.variable("task") or (Variable("task", "", kind="task") if command.builds else None)):
        found += _values(task, current, given, here)
    return found


def _values(variable: Variable, start: str, given: dict[str, str], here: Path) -> Iterable[str]:
    try:
        return _of_kind(variable, start, given, here)
    except (UserError, OSError, ValueError):  # a recipe that is not there, or has errors
        return ()


def _of_kind(variable: Variable, start: str, given: dict[str, str], here: Path) -> Iterable[str]:
    recipe = {"config": given["config"]} if "config" in given else {}
    match variable.kind:
        case _ if variable.choices:
            return variable.choices
        case _ if variable.switch:
            return ("1",)
        case "recipe":
            return (*names_in(configs_folder()), *_paths(start, here, _YAML))
        case "variant":
            from sdbuild.engine.request import load

            variants = [each.variant for each in load(recipe, here).recipes if each.variant]
            return [*variants, *variable.also] if variants else ()
        case "task":
            from sdbuild.engine.request import graph_of, load

            return (*jobs.names(), *graph_of(load(recipe, here)).tasks)
        case "device":
            from sdbuild.recipe.catalogue import catalogue

            return catalogue().devices
        case "command":
            return (*commands.names(), *jobs.names())
        case "file":
            return _paths(start, here, ("",))
        case "folder":
            return _paths(start, here, ())
        case _:
            return ()


def _paths(start: str, here: Path, endings: tuple[str, ...]) -> list[str]:
    """Folders, and files with these endings, whose path begins so."""
    above, slash, name = start.rpartition("/")
    folder = here / Path(f"{above}{slash}" or ".").expanduser()
    return [
        f"{above}{slash}{each.name}{'/' if each.is_dir() else ''}"
        for each in folder.iterdir()
        if each.name.startswith(name)
        and (name.startswith(".") or not each.name.startswith("."))
        and (each.is_dir() or each.name.endswith(endings))
    ]
