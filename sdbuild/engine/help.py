"""Help: all of it is what the commands say of themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

from sdbuild import jobs
from sdbuild.engine import commands
from sdbuild.engine.arguments import OPTIONS, unknown
from sdbuild.engine.command import Command
from sdbuild.job import stage_of

_WIDTH = 100
_GROUPS = ("Build", "Ask", "Clean up", "Use the command line")
_OFFERED = (("-h, --help", "this help, or that of the command in the line"), ("--version", "the version of sdbuild"))
_FORMS = (
    "A word alone is the recipe: a file, or a name from `list`. Every name=value may be written as --name value, too. Without "
    "a recipe it is configs/shapes.yaml, whose model comes with sdbuild."
)


def overview() -> str:
    """Every command with its summary."""
    every = commands.every()
    lines = []
    for group in _GROUPS:
        if rows := [(command.name, command.summary) for command in every if command.group == group]:
            lines += [f"{group}:", *_columns(rows, max(len(command.name) for command in every))]
    return "\n".join(lines)


def general() -> str:
    """What to know before any command."""
    return "\n".join(
        (
            "YAML recipes in, Stable Diffusion bundles for Apple devices out.",
            "",
            "Usage: sdbuild COMMAND [RECIPE] [name=value …] [options]",
            "       doit COMMAND …, in a checkout, is the same; `doit` alone is `doit build`",
            "",
            overview(),
            "",
            _wrapped(_FORMS),
            "",
            "Options:",
            *_columns(_OFFERED),
            "",
            "`sdbuild help COMMAND` has the variables, options and examples of a command.",
        )
    )


def of_command(command: Command) -> str:
    """All there is to know of a command."""
    usage = " ".join(
        (
            f"Usage: sdbuild {command.name}",
            *(["[TASK …]"] if command.builds else ["[TASK]"] if command.variable("task") else []),
            *(
                [
                    f"[{each.name.upper() if each.kind != 'recipe' else 'RECIPE'}]"
                    for each in command.variables
                    if each.bare
                ]
            ),
            *(["[name=value …]"] if command.variables else []),
            *(["[options]"] if command.builds else []),
        )
    )
    parts = [f"sdbuild {command.name}: {command.summary}", usage]
    parts += [_wrapped(paragraph) for paragraph in command.help.split("\n\n")]
    if command.variables:
        rows = [(f"{each.name}=", each.meaning) for each in command.variables]
        parts.append("\n".join(("Variables, as name=value or --name value:", *_columns(rows))))
    if command.builds:
        parts.append("\n".join(("Options:", *_columns(OPTIONS))))
    if command.examples:
        parts.append("\n".join(("Examples:", *(f"  sdbuild {line}\n      {what}" for line, what in command.examples))))
    return "\n\n".join(parts)


def of_word(word: str) -> str:
    """Help for a command, a stage, or a compression step. Raises UserError for a word that is none of them."""
    names = commands.names()
    if word in names:
        return of_command(commands.find(word))
    name = word.partition(":")[0].partition("@")[0]
    if name not in jobs.names():
        from sdbuild.recipe import steps  # nobody waits for pydantic who asks for a command

        if word in steps.names():
            return _of_step(steps.find(word))
        known = (*names, *jobs.names(), *steps.names())
        raise unknown("command", word, known, f"Commands: {', '.join(names)}")
    stage = stage_of(jobs.find(name))
    return (
        f"{stage.name}: a stage: {stage.title}\n\n"
        f"`sdbuild {word} RECIPE` runs it and what it needs, if the recipe has tasks of it, as `sdbuild plan RECIPE` shows; "
        f"`sdbuild why {word} RECIPE` says why it would run. See `sdbuild help build`."
    )


def _of_step(step: type[Any]) -> str:
    name, options = step.__module__.rpartition(".")[2], step.model_fields.items()
    summary = " ".join((step.__doc__ or "").split("\n\n")[0].split())
    rows = [(f"{key}:", each.description or "see docs/recipes.md") for key, each in options]
    return "\n\n".join(
        (
            _wrapped(f"{name}: a step of a recipe's `compress`: {summary}"),
            "\n".join(("Options:", *_columns(rows))) if rows else "It has no options.",
        )
    )


def _columns(rows: Iterable[tuple[str, str]], width: int = 0) -> list[str]:
    rows = list(rows)
    width = max(width, *(len(name) for name, _ in rows))
    lines = []
    for name, text in rows:
        first, *others = textwrap.wrap(text, max(30, _WIDTH - width - 4), break_on_hyphens=False)
        lines += [f"  {name:<{width}}  {first}", *(f"  {'':<{width}}  {line}" for line in others)]
    return lines


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), _WIDTH, break_on_hyphens=False, break_long_words=False)
