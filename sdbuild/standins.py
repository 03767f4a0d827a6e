"""What lies in the place of a file: told by its first bytes, wherever a file of others is opened."""

ENOUGH = 512
"""First bytes that `stand_in` needs."""

_LFS = b"version https://git-lfs"
_ANNEX = (b"/annex/objects/", b"../.git/annex/", b"../../.git/annex/")
_BLANK = b"\xef\xbb\xbf \t\r\n"


def stand_in(start: bytes) -> str | None:
    """What a file is instead of itself, and what to do, to be put after its name; None for what may be the file.

    ``start``: its first bytes, `ENOUGH` of them or all.
    """
    if not start:
        return "is empty: an interrupted download or copy. Get it again"
    if start.startswith(_LFS):
        return "is a pointer of Git LFS, not the file that it stands for: run `git lfs pull` in the folder it was cloned to"
    if start.startswith(_ANNEX):
        return "is a pointer of git-annex, not the file that it stands for: run `git annex get` in the folder it was cloned to"
    if not start.strip(b"\0"):
        return "begins with nothing but zeros: an interrupted download. Get it again"
    head = start.lstrip(_BLANK).lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head")):
        return "is a web page, such as a login or an error, saved under this name: download the file itself"
    if head.startswith(b"<?xml"):
        return "is XML, such as a server's error, saved under this name: download the file itself"
    return None


def text_instead(start: bytes) -> str | None:
    """The same for a file that cannot be text: the beginning of the text that it is.

    ``start``: its first bytes, `ENOUGH` of them or all.
    """
    line = start.lstrip(_BLANK).split(b"\n")[0][:60].rstrip()
    if len(line) >= 8 and all(32 <= byte < 127 for byte in line):
        return f'is text ("{line.decode("ascii", "replace")}"), such as a server\'s error: download the file itself'
    return None
