"""What a user reads when a file is wrong: the place, the source line with a caret, what is allowed, and a suggestion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sdbuild.errors import Status, UserError, printable
from sdbuild.recipe.abilities import missing

_EXCERPT = 110  # characters of a source line that are shown
_WRAP = 100  # columns a list of allowed values may take


SHOWN = 50
"""Problems of one file that are shown: with more, it is the wrong file, or one key is wrong everywhere."""


class Span(NamedTuple):
    """A stretch of one source line. `line` and `column` count characters from 0; `width` is at least 1."""

    line: int
    column: int
    width: int
    file: str = ""
    """Of a file that a recipe extends, as it is shown; empty for the recipe itself."""


class Problem(NamedTuple):
    """One thing wrong in a file, or, when `warning` is set, one thing worth knowing.

    `notes` are printed under the source line, each on lines of its own: what is allowed, what to do.
    """

    span: Span
    message: str
    notes: tuple[str, ...] = ()
    warning: bool = False


class RecipeError(UserError):
    """A recipe, a family or the device catalogue can't be used; the text holds every problem found in the file."""

    status = Status.RECIPE
    problems: tuple[Problem, ...] = ()
    file: str = ""
    """That has the problems, as it is shown."""

    @classmethod
    def of(cls, text: str, problems: Iterable[Problem], file: str) -> RecipeError:
        """The error with its text, and the problems for whoever wants them one by one."""
        error = cls(text)
        error.problems = tuple(problems)
        error.file = file
        return error


def allowed(values: Iterable[object]) -> str:
    """The note that lists what may be written."""
    return "allowed: " + ", ".join(str(value) for value in values)


def suggestion(given: str, candidates: Iterable[str], cutoff: float = 0.65) -> tuple[str, ...]:
    """A "did you mean" note for a misspelt `given`, or nothing when no candidate is near.

    Case, spaces, dots and dashes are looked through, and an abbreviation finds the word it starts
    (`CPU_AND_NE` → `cpuAndNeuralEngine`) before spelling is compared;
    `cutoff` is how alike the spelling must be, from 0 to 1.
    """
    plain = {_squeeze(candidate): candidate for candidate in candidates}
    wanted = _squeeze(given)
    if not wanted:
        return ()
    starts = [candidate for key, candidate in plain.items() if key.startswith(wanted)]
    if wanted in plain:
        best: str | None = plain[wanted]
    elif len(starts) == 1 and len(wanted) > 2:
        best = starts[0]
    else:
        import difflib  # nobody waits for this and what is below who has made no mistake

        near = difflib.get_close_matches(wanted, plain, n=1, cutoff=cutoff)
        best = plain[near[0]] if near else None
    return (f"did you mean '{best}'?",) if best is not None else ()


def hint(given: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """A note for a word that is none of the candidates: that it stands for what sdbuild does not do, or a suggestion."""
    candidates = list(candidates)
    why = missing(given, candidates)
    return (why,) if why is not None else suggestion(given, candidates)


def _squeeze(text: str) -> str:
    return "".join(c for c in text[:200].lower() if c.isalnum())


def render(problem: Problem, name: str, lines: Sequence[str], bases: Mapping[str, Sequence[str]] | None = None) -> str:
    """The problem as `name:line:column: message` with the source line, a caret and the notes below."""
    import textwrap

    span = problem.span
    if span.file and bases:
        name, lines = span.file, bases[span.file]
    level = "warning: " if problem.warning else ""
    out = [f"{name}:{span.line + 1}:{span.column + 1}: {level}{problem.message}".replace("\n", "\\n")]
    number = str(span.line + 1)
    margin = " " * (len(number) + 2)
    if span.line < len(lines):
        source, column, width = _excerpt(lines[span.line], span.column, span.width)
        caret = _blank(source[:column]) + "^" * max(1, _columns(source[column : column + width]))
        out.append(f"  {number} | {source}".rstrip())
        out.append(f"{margin} | {caret}")
    for note in problem.notes:
        wrapped = textwrap.wrap(note, _WRAP, break_long_words=False, break_on_hyphens=False)
        out.append(f"{margin} = " + f"\n{margin}   ".join(wrapped))
    return printable("\n".join(out))


def report(
    problems: Iterable[Problem], name: str, lines: Sequence[str], bases: Mapping[str, Sequence[str]] | None = None
) -> RecipeError:
    """One error that tells every problem of a file, in the order of the file; then those of what it extends.

    ``bases``: the lines of the files that are extended, by the name that spans have.
    """
    ordered = sorted(set(problems), key=lambda problem: (problem.span.file, problem))
    blocks = [render(problem, name, lines, bases) for problem in ordered[:SHOWN]]
    if len(ordered) > 1:
        files = " and ".join(printable(file) for file in dict.fromkeys(each.span.file or name for each in ordered))
        many = f"more than {SHOWN} problems in {files}; these are {SHOWN} of them"
        blocks.append(many if len(ordered) > SHOWN else f"{len(ordered)} problems in {files}")
    return RecipeError.of("\n\n".join(blocks), ordered, name)


def display(path: Path) -> str:
    """A path as a user wants to read it: relative when it lies below the current folder."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _excerpt(line: str, column: int, width: int) -> tuple[str, int, int]:
    """The part of a long line around the caret, with the caret's place in it."""
    start = 0
    if len(line) > _EXCERPT:
        start = max(0, min(column - _EXCERPT // 2, len(line) - _EXCERPT))
        head, tail = "…" if start else "", "…" if start + _EXCERPT < len(line) else ""
        line = head + line[start : start + _EXCERPT] + tail
        start -= len(head)
    line = "".join(c if c.isprintable() else " " for c in line)
    column = min(column - start, len(line))
    return line, column, min(width, max(1, len(line) - column))


def _blank(text: str) -> str:
    return " " * _columns(text)


def _columns(text: str) -> int:
    """Terminal columns that the text takes."""
    import unicodedata

    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
