"""Colour for messages on terminals: NO_COLOR and FORCE_COLOR are respected (no-color.org, force-color.org)."""

from __future__ import annotations

import os
import re
from typing import TextIO

_RED, _YELLOW, _BOLD, _CYAN, _PLAIN = (f"\x1b[{code}m" for code in ("1;31", "1;33", "1", "36", "0"))
_PARTS = (
    (re.compile(r"^[^\s:][^\n:]*:[0-9]+:[0-9]+:|(?<=error: )[^\s:][^\n:]*:[0-9]+:[0-9]+:"), _BOLD),
    (re.compile(r"(?<=: )warning:(?= )"), _YELLOW),
    (re.compile(r"^error:"), _RED),
    (re.compile(r"(?<= \| )[ ]*\^+$"), _RED),
    (re.compile(r"^ +=(?= )"), _CYAN),
)
"""Of a line: what it begins with, places in files, carets under what is wrong, the sign before advice."""


def coloured(text: str, stream: TextIO) -> str:
    """A message, without anything a terminal acts on so far, as it is to be written to a stream."""
    if not _wanted(stream):
        return text
    return "\n".join(map(_line, text.split("\n")))


def _line(line: str) -> str:
    for part, colour in _PARTS:
        line = part.sub(lambda match, colour=colour: f"{colour}{match[0]}{_PLAIN}", line)  # type: ignore[misc]
    return line


def _wanted(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if forced := os.environ.get("FORCE_COLOR"):
        return forced != "0"
    return stream.isatty() and os.environ.get("TERM") != "dumb"
