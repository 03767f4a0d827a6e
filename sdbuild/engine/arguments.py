"""The command line, read strictly: doit itself takes ``confg=x`` in silence and builds the default recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sdbuild import jobs
from sdbuild.engine import commands
from sdbuild.engine.command import Variable
from sdbuild.errors import Mistakes, UsageError, one_line
from sdbuild.recipe import RecipeError, find_recipe
from sdbuild.recipe.problems import hint

DEFAULT = "build"
"""The command of a line that names none, or tasks."""

OPTIONS = (
    ("-n N, --process N", "how many stages may run at once (1)"),
    ("-c, --continue", "after a failure go on with what does not depend on it"),
    ("-v, --verbose", "print what stages write to their logs"),
    ("-q, --quiet", "print errors, warnings and the result alone"),
)
"""Of commands that build."""


@dataclass(frozen=True)
class Options:
    """The options of a build."""

    jobs: int = 1
    """How many stages may run at once."""
    keep_going: bool = False
    """After a failure run what does not depend on it."""
    verbose: bool = False
    """Print what stages write to their logs."""
    quiet: bool = False
    """Print errors, warnings and the result alone."""


@dataclass(frozen=True)
class Arguments:
    """A command line, understood."""

    command: str = DEFAULT
    """What is asked for; `build` where tasks are named."""
    words: tuple[str, ...] = ()
    """Commands, stages and tasks, as they stand in the line."""
    variables: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    program: str = "sdbuild"
    """What was called: `sdbuild`, or `doit` in a checkout. Messages that say what to run name it."""


def parse(argv: Sequence[str], here: Path | None = None) -> Arguments:
    """Read a command line, without the program's name, for a user who stands in ``here`` (the current folder).

    Every ``name=value`` may be written as ``--name value`` or ``--name=value``, too; of a switch ``--name`` is enough. A word
    alone that is neither a command nor a task stands for the variable that the command says, mostly ``config=``.

    Raises:
        UserError: an unknown word, variable or option, with a suggestion where one is near.
    """
    bare: list[str] = []
    variables: dict[str, str] = {}
    options: dict[str, int | bool] = {}
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument.startswith("--") and (variable := _named(argument[2:].partition("=")[0])):
            _set(variables, variable.name, _value(variable, argument, rest))
        elif argument.startswith("-"):
            _option(argument, rest, options, argv)
        elif "=" in argument:
            name, _, value = argument.partition("=")
            if _named(name) is None and ("/" in name or _is_recipe(argument, here or Path.cwd())):
                raise UsageError(
                    f"'{_safe(name)}' is no variable: if '{_safe(argument)}' is the recipe, write config={_safe(argument)}"
                )
            _set(variables, name, value)
        else:
            bare.append(argument)
    words = _words(bare, variables, here or Path.cwd())
    command = commands.find(words[0] if words and words[0] in commands.names() else DEFAULT)
    _check_variables(words, variables)
    if options and not command.builds:
        raise UsageError(f"`{command.name}` takes no options")
    if "verbose" in options and "quiet" in options:
        raise UsageError("-v and -q: print more or less, not both")
    return Arguments(command.name, tuple(words), variables, Options(**options))  # type: ignore[arg-type]


def _named(name: str) -> Variable | None:
    """The variable of that name, of whichever command: the command may come later in the line."""
    return next((found for command in commands.every() if (found := command.variable(name))), None)


def _value(variable: Variable, argument: str, rest: list[str]) -> str:
    _, equals, value = argument.partition("=")
    if equals:
        return value
    if variable.switch:
        return "1"
    if not rest or rest[0].startswith("--"):
        raise UsageError(f"{argument}: its value is missing; {variable.meaning}")
    return rest.pop(0)


def _set(variables: dict[str, str], name: str, value: str) -> None:
    if name in variables:
        raise UsageError(f"{_safe(name)}= is given twice")
    variables[name] = value


_OF_DOIT = {
    "forget": "nothing is remembered that could be forgotten: a task runs when what it is made from has changed; see `why`",
    "reset-dep": "no states of files are kept: a task runs when what it is made from has changed; see `why`",
    "ignore": "a task can't be left out, as others need it; to build a part, name its task, such as convert:unet",
    "info": "to see why a task would run: `why task=NAME`; to see all of them: `plan`",
    "dumpdb": "there is no database; `plan` and `why` say how tasks stand",
    "strace": "stages run in processes of their own, with declared inputs; `why task=NAME` names them",
    "tabcompletion": "`completion bash` prints the script for bash, zsh or fish",
    "auto": "nothing is watched; `build` again, and only what changed is done",
}
"""Commands of doit that make no sense here, and what to do instead."""


def _words(bare: Sequence[str], variables: dict[str, str], here: Path) -> list[str]:
    """Commands and tasks among the words that stand alone; another one becomes a value in ``variables``."""
    known = commands.names()
    for word in bare[:1]:
        if word in _OF_DOIT:
            raise UsageError(f"there is no command '{word}': {_OF_DOIT[word]}")
        if word not in known and not is_task(word):
            if word and _is_recipe(word, here):
                raise UsageError(f"unknown command '{_safe(word)}': it is a recipe, which `build {_safe(word)}` builds")
            raise _unknown_word(word)
    first = commands.find(bare[0]) if bare and bare[0] in known else commands.find(DEFAULT)
    words = list(bare[:1])
    for word in bare[1:]:
        if first.bare is not None and first.bare.kind != "recipe":
            _set(variables, first.bare.name, word)
        elif word in known and not (first.variable("task") and is_task(word)):  # `why verify` asks for the task
            if not (first.builds and commands.find(word).builds):
                alone = bare[0] if not first.builds else word
                also = f" (for the recipe write config={word})" if _is_recipe(word, here) else ""
                raise UsageError(f"`{alone}` stands alone: give one command at a time{also}")
            words.append(word)
        elif is_task(word) and (first.builds or first.variable("task")):
            if "config" not in variables and _is_recipe(word, here):
                raise UsageError(
                    f"'{_safe(word)}' is a task, and a recipe: for the recipe write config={_safe(word)}, for the "
                    "task name its recipe with config=, too"
                )
            if first.builds:
                words.append(word)
            else:
                _set(variables, "task", word)
        elif first.bare is not None:
            _check_recipe(word, first.name, here)
            _set(variables, first.bare.name, word)
        else:
            raise UsageError(f"`{first.name}` takes no '{_safe(word)}'; see `help {first.name}`")
    return words


def is_task(word: str) -> bool:
    """It names a stage, or has one before a colon; whether a recipe has the task is for its graph to say."""
    return word.partition(":")[0].partition("@")[0] in jobs.names()


def _is_recipe(word: str, here: Path) -> bool:
    try:
        find_recipe(word, here)
    except RecipeError:
        return False
    return True


def _check_recipe(word: str, command: str, here: Path) -> None:
    """Raise UserError for a word that is meant for a recipe, and for none that is there."""
    try:
        if word:
            find_recipe(word, here)
            return
    except RecipeError:
        if (here / word).exists():
            raise
        if is_task(word):
            raise UsageError(
                f"`{command}` takes a recipe, and '{_safe(word)}' is a task, which `build` and `why` take"
            ) from None
        near = hint(word.partition(":")[0], (*commands.names(), *jobs.names()))
        if "/" in word or not (near or ":" in word):
            raise
    raise _unknown_word(word)


def _unknown_word(word: str) -> UsageError:
    names = commands.names()
    return unknown("command", word, (*names, *jobs.names()), f"Commands: {', '.join(names)}")


def _check_variables(words: Sequence[str], variables: Mapping[str, str]) -> None:
    known = commands.names()
    named = dict.fromkeys(word if word in known else DEFAULT for word in words or (DEFAULT,))
    taken = {variable.name: variable for name in named for variable in commands.find(name).variables}
    mistakes = Mistakes()
    for name, value in variables.items():
        with mistakes:
            if name not in taken:
                has = f"takes {', '.join(f'{known}=' for known in taken)}" if taken else "takes no variables"
                raise unknown("variable", name, taken, f"`{' '.join(words) or DEFAULT}` {has}")
            taken[name].check(value)
    mistakes.check()


def unknown(kind: str, word: str, known: Iterable[str], otherwise: str) -> UsageError:
    """The error for a word that is not among the known ones."""
    near = hint(word.lstrip("-").partition(":")[0] if kind != "task" else word, known)
    note = f": {near[0]}" if near else ""
    return UsageError(f"unknown {kind} '{_safe(word)}'{note}\n{otherwise}")


_NUMBER = ("-n", "--process")
_MOST_AT_ONCE = 256
_KEEP_GOING = ("-c", "--continue")
_VERBOSE = ("-v", "--verbose")
_QUIET = ("-q", "--quiet")


def _option(argument: str, rest: list[str], options: dict[str, int | bool], argv: Sequence[str]) -> None:
    name, equals, value = argument.partition("=")
    if argument.startswith("-n") and len(argument) > 2:
        name, equals, value = "-n", "=", argument[2:]
    if name in _KEEP_GOING and not equals:
        options["keep_going"] = True
    elif name in _NUMBER:
        text = value if equals else rest.pop(0) if rest else ""
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= _MOST_AT_ONCE):
            given = f"{name} {_safe(text)}".rstrip()
            raise UsageError(f"{given}: say how many stages may run at once, 1 to {_MOST_AT_ONCE}, such as -n 2")
        options["jobs"] = int(text)
    elif argument in _VERBOSE:
        options["verbose"] = True
    elif argument in _QUIET:
        options["quiet"] = True
    elif name == "--verbosity" or argument.startswith("-v"):
        raise UsageError(f"{_safe(name)}: write -v for more, -q for less; for the version --version")
    else:
        raise _unknown_option(name, argv)


def _unknown_option(name: str, argv: Sequence[str]) -> UsageError:
    """The error for an option, with those of the command that its line names."""
    command = commands.find(next((word for word in argv if word in commands.names()), DEFAULT))
    short = (*_NUMBER, *_KEEP_GOING, *_VERBOSE, *_QUIET) if command.builds else ()
    long = [f"--{variable.name}" for variable in command.variables]
    offered = "-n N (stages at once), -c (go on after a failure), -v (more), -q (less)" if command.builds else ""
    return unknown(
        "option",
        name,
        (*short, *long, "--help", "--version"),
        f"Options: {offered}" if offered else f"Options of `{command.name}`: {', '.join([*long, '--help'])}",
    )


def _safe(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
