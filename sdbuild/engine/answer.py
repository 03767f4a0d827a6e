"""What a command found out: as text, and as data for ``json=1``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdbuild.errors import Status, UserError
from sdbuild.recipe import RecipeError

SCHEMA = 1
"""Of the documents. Keys may be added to it; one that goes, or changes its meaning, makes it another."""


@dataclass(frozen=True)
class Answer:
    """The outcome of a command that prints nothing itself."""

    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Of JSON's types alone. docs/commands.md has the keys."""
    status: int = Status.DONE


def document(
    command: str, answer: Answer, errors: Sequence[Mapping[str, Any]], warnings: Sequence[Mapping[str, Any]]
) -> str:
    """The one JSON document that ``json=1`` prints."""
    head = {"schema": SCHEMA, "command": command, "status": int(answer.status), "errors": errors, "warnings": warnings}
    return json.dumps({**head, **answer.data}, indent=2, ensure_ascii=False)


def error_data(error: UserError) -> dict[str, Any]:
    """An error as data: its whole message, and each problem of a recipe with its place, counted from 1."""
    found: dict[str, Any] = {"message": str(error)}
    if isinstance(error, RecipeError) and error.problems:
        found["problems"] = [
            {
                "file": problem.span.file or error.file,
                "line": problem.span.line + 1,
                "column": problem.span.column + 1,
                "message": problem.message,
                "notes": list(problem.notes),
            }
            for problem in error.problems
        ]
    return found
