"""A command in a folder of somebody's own."""

from pathlib import Path

from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import Command


def run(arguments: Arguments, here: Path) -> None:
    """Say hello."""
    print("hello")


COMMAND = Command("hello", "Ask", "say hello", "Says hello.", run, examples=(("hello", "say it"),))
