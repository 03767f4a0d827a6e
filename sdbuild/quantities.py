"""Times and sizes on a command line: `30d`, `20GB`."""

from __future__ import annotations

import re

from sdbuild.errors import UsageError, one_line

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}  # powers of 1000, as sizes are printed
_BINARY = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([a-zA-Z]{1,3})")


def seconds(name: str, text: str) -> float:
    """A length of time, such as `30d`, in seconds; ``name`` is that of the variable. Raises UserError."""
    return _read(name, text, _SECONDS, "minutes, hours, days or weeks: 90m, 12h, 30d, 2w")


def size_bytes(name: str, text: str) -> int:
    """A size, such as `20GB` or `1.5 GiB`, in whole bytes; ``name`` is that of the variable. Raises UserError."""
    return int(_read(name, text, _BYTES | _BINARY, "kB, MB, GB or TB (GiB and the like are understood): 500MB, 20GB"))


def _read(name: str, text: str, units: dict[str, int], examples: str) -> float:
    match = _QUANTITY.fullmatch(text)
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{name}={one_line(text[:40])}: write a number and its unit, {examples}")
    return float(match[1]) * unit
