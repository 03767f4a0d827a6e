"""The command ``help``: what commands say of themselves."""

from __future__ import annotations

from pathlib import Path

from sdbuild.engine import help as texts
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import Command, Variable


def run(arguments: Arguments, here: Path) -> None:
    """Print help of a command, or the overview. Raises UserError."""
    word = arguments.variables.get("command")
    print(texts.general() if word is None else texts.of_word(word))


COMMAND = Command(
    "help",
    "Use the command line",
    "what there is to do; of a command its variables, options and examples",
    "`sdbuild COMMAND --help` is the same as `sdbuild help COMMAND`. A stage, such as convert, is answered, too.",
    run,
    (Variable("command", "a command, or a stage (all commands)", kind="command", bare=True),),
    (("help build", "all about a command"), ("help", "all commands")),
)
