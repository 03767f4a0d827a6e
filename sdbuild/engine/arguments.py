"""The command line, read strictly: doit itself takes ``confg=x`` in silence and builds the default recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sdbuild.engine.quantities import seconds, size_bytes
from sdbuild.errors import UsageError, one_line
from sdbuild.generate.request import VARIABLES as DRAWING
from sdbuild.plan import STAGES
from sdbuild.recipe.problems import hint

COMMANDS = {
    "build": "build a recipe into build/<recipe>/",
    "plan": "say what a build would run, why, and how much disk it takes; run nothing",
    "why": "say why a task would run, or why it ran last: the input or setting that changed",
    "validate": "check a recipe and say what it comes to",
    "list": "list the recipes that come with sdbuild, and these commands",
    "check": "read the whole store and compare every byte with what was made",
    "gc": "remove from the store what no recipe in use needs and no build has used for 30 days",
    "clean": "remove build/<recipe>/; the store keeps everything",
    "verify": "hold what a build makes of a recipe against PyTorch, stage by stage",
    "generate": "draw pictures with what a build put into build/<recipe>/",
}
"""What there is to do, in plain words."""

BUILDING = ("build", "verify")
"""Those of them that run tasks of a recipe."""

VARIABLES = {
    "config": "the recipe: a path, or a name from `list` (without it: shapes)",
    "variant": "one variant of the recipe instead of all",
    "task": "a task of the recipe, such as convert:unet",
    "older": "how long nothing may have used what is removed: 90m, 12h, 30d (the default), 2w; 0d counts nothing as used",
    "max": "how large the store may be after it: 500MB, 20GB; what recipes in use need goes last",
    "dry": "dry=1 removes nothing, only tells",
    **DRAWING,
}
"""What `name=value` may set, in plain words."""

TAKES = {
    "build": ("config", "variant"),
    "plan": ("config", "variant"),
    "why": ("config", "variant", "task"),
    "validate": ("config",),
    "list": (),
    "check": (),
    "gc": ("older", "max", "dry"),
    "clean": ("config", "variant"),
    "verify": ("config", "variant"),
    "generate": ("config", "variant", *DRAWING),
}
"""Which variables a command has. A task of a recipe has those of build."""


@dataclass(frozen=True)
class Options:
    """The options of a build."""

    jobs: int = 1
    """How many stages may run at once."""
    keep_going: bool = False
    """After a failure run what does not depend on it."""


@dataclass(frozen=True)
class Arguments:
    """A command line, understood."""

    words: tuple[str, ...] = ()
    """Commands, stages and tasks."""
    variables: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    @property
    def builds(self) -> bool:
        """A recipe's tasks are wanted, all or some."""
        return not self.words or any(word in BUILDING or word not in COMMANDS for word in self.words)


def parse(argv: Sequence[str]) -> Arguments:
    """Read a command line, without the program's name.

    Raises:
        UserError: an unknown word, variable or option, with a suggestion where one is near.
    """
    words, variables = [], {}
    options: dict[str, int | bool] = {}
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument.startswith("-"):
            _option(argument, rest, options)
        elif "=" in argument:
            name, _, value = argument.partition("=")
            if name in variables:
                raise UsageError(f"{_safe(name)}= is given twice")
            variables[name] = value
        else:
            words.append(argument)
    check(words, variables)
    arguments = Arguments(tuple(words), variables, Options(**options))  # type: ignore[arg-type]
    if options and not arguments.builds:
        raise UsageError(f"`{words[0]}` takes no options")
    return arguments


_OF_DOIT = {
    "forget": "nothing is remembered that could be forgotten: a task runs when what it is made from has changed; see `why`",
    "reset-dep": "no states of files are kept: a task runs when what it is made from has changed; see `why`",
    "ignore": "a task can't be left out, as others need it; to build a part, name its task, such as convert:unet",
    "info": "to see why a task would run: `why task=NAME`; to see all of them: `plan`",
    "dumpdb": "there is no database; `plan` and `why` say how tasks stand",
    "strace": "stages run in processes of their own, with declared inputs; `why task=NAME` names them",
    "tabcompletion": "there is no completion for shells; `list` has all commands",
    "auto": "nothing is watched; `build` again, and only what changed is done",
}
"""Commands of doit that make no sense here, and what to do instead."""


def check(words: Sequence[str], variables: Mapping[str, str]) -> None:
    """Refuse what no command knows. Tasks are only checked for the stage they name; the rest is for the graph to say."""
    for word in words[:1]:
        if word in _OF_DOIT:
            raise UsageError(f"there is no command '{word}': {_OF_DOIT[word]}")
    for word in words:
        if word not in COMMANDS and word.partition(":")[0].partition("@")[0] not in STAGES:
            raise unknown("command", word, (*COMMANDS, *STAGES), f"Commands: {', '.join(COMMANDS)}")
    for word in words:
        if word in COMMANDS and word not in BUILDING and len(words) > 1:
            raise UsageError(f"`{word}` stands alone: give one command at a time")
    named = [word if word in COMMANDS else "build" for word in words] or ["build"]
    taken = list(dict.fromkeys(variable for word in named for variable in TAKES[word]))
    for name, value in variables.items():
        if name not in taken:
            has = f"takes {', '.join(f'{known}=' for known in taken)}" if taken else "takes no variables"
            raise unknown("variable", name, taken, f"`{' '.join(words) or 'build'}` {has}")
        if not value.strip() and name != "negative":
            raise UsageError(f"{name}= is empty; {VARIABLES[name]}")
    for name, read in (("older", seconds), ("max", size_bytes)):
        if name in variables:
            read(name, variables[name])
    if variables.get("dry", "1") not in ("0", "1"):
        raise UsageError(f"dry={_safe(variables['dry'])}: write dry=1 to be told only, or leave it out")


def unknown(kind: str, word: str, known: Iterable[str], otherwise: str) -> UsageError:
    """The error for a word that is not among the known ones."""
    near = hint(word.lstrip("-").partition(":")[0] if kind != "task" else word, known)
    note = f": {near[0]}" if near else ""
    return UsageError(f"unknown {kind} '{_safe(word)}'{note}\n{otherwise}")


_NUMBER = ("-n", "--process")
_MOST_AT_ONCE = 256
_KEEP_GOING = ("-c", "--continue")


def _option(argument: str, rest: list[str], options: dict[str, int | bool]) -> None:
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
    elif name == "--verbosity" or argument.startswith("-v"):
        raise UsageError(
            f"{_safe(name)}: there is nothing more to print: a stage that fails names its log. For the version: --version"
        )
    else:
        raise unknown(
            "option", name, (*_NUMBER, *_KEEP_GOING), "Options: -n N (stages at once), -c (go on after a failure)"
        )


def _safe(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
