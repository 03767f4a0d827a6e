"""What lies in the place of a file: recognised by its first bytes, wherever a file that others wrote is opened."""

from dataclasses import dataclass
from pathlib import Path

ENOUGH = 512
"""First bytes that `stand_in` needs."""

_LFS = b"version https://git-lfs"
_ANNEX = (b"/annex/objects/", b"../.git/annex/", b"../../.git/annex/")
_BLANK = b"\xef\xbb\xbf \t\r\n"


@dataclass(frozen=True)
class StandIn:
    """What a file is instead of itself, to be put after its name, and what to do."""

    what: str
    remedy: str

    def __str__(self) -> str:
        """``what: remedy``."""
        return f"{self.what}: {self.remedy}"


def _pointer(of: str, command: str) -> StandIn:
    return StandIn(
        f"is a pointer of {of}, not the file that it stands for", f"run `{command}` in the folder it was cloned to"
    )


_EMPTY = StandIn("is empty, left by an interrupted download or copy", "get it again")
_ZEROS = StandIn("begins with nothing but zeros, left by an interrupted download", "get it again")
_OF_LFS, _OF_ANNEX = _pointer("Git LFS", "git lfs pull"), _pointer("git-annex", "git annex get")
_PAGE = StandIn("is a web page, such as a login or an error, saved under this name", "download the file itself")
_XML = StandIn("is XML, such as a server's error, saved under this name", "download the file itself")


def stand_in(start: bytes) -> StandIn | None:
    """What a file is instead of itself; None for what may be the file.

    ``start``: its first bytes, `ENOUGH` of them or all.
    """
    if not start:
        return _EMPTY
    if start.startswith(_LFS):
        return _OF_LFS
    if start.startswith(_ANNEX):
        return _OF_ANNEX
    if not start.strip(b"\0"):
        return _ZEROS
    head = start.lstrip(_BLANK).lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head")):
        return _PAGE
    if head.startswith(b"<?xml"):
        return _XML
    return None


def stand_in_at(path: Path) -> StandIn | None:
    """The same of a file on this machine; None also for what is no file, or cannot be opened, which its reader reports."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return stand_in(file.read(ENOUGH))
    except OSError:
        return None


def text_instead(start: bytes) -> str | None:
    """The same for a file that cannot be text: the beginning of the text that it is.

    ``start``: its first bytes, `ENOUGH` of them or all.
    """
    line = start.lstrip(_BLANK).split(b"\n")[0][:60].rstrip()
    if len(line) >= 8 and all(32 <= byte < 127 for byte in line):
        return f'is text ("{line.decode("ascii", "replace")}"), such as a server\'s error: download the file itself'
    return None
