"""What can become of a JSON file that a program wrote: damage by a disk, and edits by people and programs."""

import copy
import json
import os
import random
from pathlib import Path
from typing import Any

_ODD: list[Any] = [
    None, True, False, 0, -1, 2, 1e300, float("nan"), 10**30, "", ".", "..", "/", "../../outside", "/etc/passwd", "a/b", "\0",
    "\ud800", "\x1b[31m", "x" * 70_000, [], {}, [[]], {"": {}}, {"stage": ".."},
]  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The bytes with some flipped, lost, repeated or zero."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 1, 8, 100)))
        kind = rng.randrange(6)
        if kind == 0 and start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[start:]
        elif kind == 2:
            del data[start:end]
        elif kind == 3:
            data[start:start] = data[start:end]
        elif kind == 4:
            data[start:end] = bytes(end - start)
        else:
            data[start:end] = rng.randbytes(end - start)
    return bytes(data)


def edited(content: Any, rng: random.Random) -> Any:
    """The parsed JSON with values replaced, moved, renamed, repeated or taken away."""
    data = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(data))
        if not places:
            return data
        holder, key = rng.choice(places)
        other, place = rng.choice(places)
        kind = rng.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = copy.deepcopy(other[place])
        elif kind == 2 and isinstance(holder, dict):
            holder[rng.choice([odd for odd in _ODD if isinstance(odd, str)])] = holder.pop(key)
        elif kind == 3 and isinstance(holder[key], str):
            holder[key] = damaged(holder[key].encode(errors="replace"), rng).decode(errors="replace")
        else:
            holder[key] = copy.deepcopy(rng.choice(_ODD))
    return data


def _places(data: Any) -> Any:
    """Every (container, key or index) in it."""
    if isinstance(data, dict | list):
        for key in list(data) if isinstance(data, dict) else range(len(data)):
            yield data, key
            yield from _places(data[key])


def as_bytes(data: Any) -> bytes:
    """Parsed JSON written down."""
    return json.dumps(data).encode()


def flip(file: Path) -> None:
    """Change a byte, and neither size nor time."""
    stat, content = file.stat(), file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    file.chmod(stat.st_mode)
