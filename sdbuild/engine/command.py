"""The form of a command: what a file of ``engine/commands/`` says of itself, for the command line, help and completion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sdbuild.errors import UsageError, one_line

if TYPE_CHECKING:
    from sdbuild.engine.answer import Answer
    from sdbuild.engine.arguments import Arguments

Group = Literal["Build", "Ask", "Clean up", "Use the command line"]
"""The heading that help lists a command under."""

Kind = Literal["text", "recipe", "variant", "task", "device", "command", "file", "folder"]
"""What the value of a variable names, which completion offers."""


@dataclass(frozen=True)
class Variable:
    """What ``name=value`` may set."""

    name: str
    meaning: str
    """In plain words, with the default in brackets where there is one."""
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    """Values to offer where only a few make sense."""
    also: tuple[str, ...] = ()
    """Values to offer beside those of its kind, if there are any of these."""
    bare: bool = False
    """A word alone stands for it: `build my.yaml` is `build config=my.yaml`."""
    switch: bool = False
    """On or off: `dry=1`, or `--dry`."""
    may_be_empty: bool = False
    read: Callable[[str, str], object] | None = None
    """Called with the name and the value before anything runs; raises UserError for a value that can't be."""

    def check(self, value: str) -> None:
        """Raise UserError for a value that can't be, as far as that is known without looking anything up."""
        if not value.strip() and not self.may_be_empty:
            raise UsageError(f"{self.name}= is empty; {self.meaning}")
        if self.switch and value not in ("0", "1"):
            raise UsageError(f"{self.name}={one_line(value[:40])}: write {self.name}=1 or leave it out; {self.meaning}")
        if self.read is not None:
            self.read(self.name, value)


@dataclass(frozen=True)
class Command:
    """One thing to do. ``engine/commands/NAME.py`` has it as ``COMMAND``."""

    name: str
    """That of its file."""
    group: Group
    summary: str
    """One line, without a capital letter or a full stop."""
    help: str
    """What it does, in paragraphs; a line break within a paragraph means nothing."""
    run: Callable[[Arguments, Path], Answer | int | None]
    """Do it, for a user who stands in a folder. What it returns is an answer that is still to be printed, an exit status, or
    None for 0. It raises UserError. One that has `JSON` among its variables gives an answer, and prints nothing."""
    variables: tuple[Variable, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    """Command lines, without the program's name, each with what it does."""
    builds: bool = False
    """It runs tasks of a recipe: it may stand beside others that do, and takes the options of a build."""

    def variable(self, name: str) -> Variable | None:
        """The variable of that name; None if the command has none."""
        return next((each for each in self.variables if each.name == name), None)

    @property
    def bare(self) -> Variable | None:
        """The variable that a word alone stands for."""
        return next((each for each in self.variables if each.bare), None)


CONFIG = Variable("config", "the recipe: a path, or a name from `list` (without it: shapes)", kind="recipe", bare=True)
VARIANT = Variable("variant", "one variant of the recipe instead of all", kind="variant")
TASK = Variable("task", "a task of the recipe, such as convert:unet", kind="task")
OUT = Variable("out", "the folder for results (build/<recipe>)", kind="folder")
LOG = Variable("log", "a file that gets everything that the build prints, too", kind="file")
JSON = Variable("json", "json=1: print one JSON document and nothing else on the standard output, for CI", switch=True)
