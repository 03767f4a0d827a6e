"""What the YAML parser could not read, in words that say what to change."""

from __future__ import annotations

import re

import yaml

from sdbuild.bounded_yaml import TOO_DEEP, BoundedLoader, TooLongError
from sdbuild.recipe.problems import Problem, Span

# (part of the parser's message, what to say, what to do, whether to point at where the construct began)
_KNOWN = (
    ("character '\\t' that cannot", "a tab can't indent YAML", "indent with spaces", False),
    (
        "cannot start any token",
        "this character can't start a value",
        'put the value in quotes: "..."',
        False,
    ),
    (
        "mapping values are not allowed",
        "a ':' is not allowed here",
        "check the indentation; text that holds ': ' needs quotes",
        False,
    ),
    (
        "could not find expected ':'",
        "neither `key: value` nor an item of a list",
        "write `key: value`, or check the indentation",
        True,
    ),
    ("unexpected end of stream", "these quotes are never closed", "add the closing quote", True),
    ("expected ',' or ']'", "this list is not closed, or a comma is missing", "write it as [a, b, c]", True),
    (
        "expected ',' or '}'",
        "this mapping is not closed, or a comma is missing",
        "write it as {key: value, key: value}",
        True,
    ),
    (
        "expected <block end>",
        "this line doesn't fit the lines above it",
        "keys of one mapping start in the same column, items of one list with '-' in the same column",
        False,
    ),
    ("unknown escape character", "an unknown escape in double quotes", "use single quotes, or write \\\\", False),
    ("incompatible YAML document", "only YAML 1.1 and 1.2 can be read", "remove the %YAML line", False),
)


class _Brief(BoundedLoader):
    most_tokens = 4_000  # the longest recipe in configs/ has 300


def syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    """The parser's error as one problem. The Python parser is asked again: libyaml's messages say less."""
    try:
        for _ in yaml.parse(text, Loader=_Brief):
            pass
    except TooLongError:
        return _problem(error)
    except yaml.YAMLError as clearer:
        return _problem(clearer)
    return _problem(error)  # only libyaml objects


def _problem(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    begun = getattr(error, "context_mark", None) or mark
    said = str(getattr(error, "problem", None) or error)
    if said == TOO_DEEP:
        return Problem(_at(mark), said)
    for part, message, advice, at_start in _KNOWN:
        if part in said:
            return Problem(_at(begun if at_start else mark), message, (advice,))
    return Problem(_at(mark), f"not YAML: {re.sub(r'[^ -~]', '?', said)}")


def _at(mark: yaml.Mark | None) -> Span:
    return Span(mark.line, mark.column, 1) if mark is not None else Span(0, 0, 1)
