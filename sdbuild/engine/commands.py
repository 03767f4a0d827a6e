"""What the commands other than ``build`` do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sdbuild.engine import checking, drawing, removing, telling
from sdbuild.engine.arguments import Arguments


def command(word: str, arguments: Arguments, here: Path) -> Callable[[], int | None]:
    """The function behind a command, for a user who stands in ``here``: None, or an exit status. It raises UserError."""
    variables = arguments.variables
    return {
        "plan": lambda: telling.tell_plan(variables, here),
        "why": lambda: telling.tell_why(variables, here),
        "validate": lambda: telling.tell_valid(variables, here),
        "list": telling.tell_all,
        "check": checking.check_store,
        "gc": lambda: removing.collect_garbage(variables),
        "clean": lambda: removing.clean(variables, here),
        "generate": lambda: drawing.draw(variables, here),
    }[word]
