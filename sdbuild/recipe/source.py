"""Where a model comes from; `recipe/sources/` has a file for each kind of source."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Suffixes of files that weights come in."""

Trouble = tuple[str, tuple[str, ...]]
"""A message, and notes on what is allowed or was meant."""


@dataclass(frozen=True)
class Source:
    """What a recipe names as a source; `sdbuild.sources` has a module of the same name that lists and fetches its files."""

    kind: ClassVar[str]
    """The name of its module."""
    rank: ClassVar[int]
    """Kinds are asked in this order whether a text is one of theirs; the hub, which takes any, is the last."""
    title: ClassVar[str]
    """With its article: "a local folder"."""
    remote: ClassVar[bool] = False
    """Nothing of it is on this machine until a build has fetched it."""
    shipped: ClassVar[bool] = False
    """A part of sdbuild: its files are known by their content, for where and when they were installed is nobody's choice."""

    hashed: ClassVar[bool] = False
    """Known by the digest of its content, which the recipe says."""
    single: ClassVar[bool] = False
    """One file of weights, which comes without configurations."""

    id: str
    """As the recipe writes it, without a prefix that names the kind."""
    revision: str | None = None
    """Commit, tag or branch, where there are such."""
    sha256: str | None = field(default=None, kw_only=True)
    """Of its content, where the recipe says it."""

    @classmethod
    def read(cls, text: str, revision: str | None, folder: Path) -> Self | None:
        """The source that ``text`` names, for a recipe that lies in ``folder``; None where it is no text of this kind."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """For messages."""
        return self.id

    @property
    def folder(self) -> Path | None:
        """Its files' folder on this machine; None where there is none."""
        return None

    @property
    def file(self) -> Path | None:
        """Of a single file: where it is on this machine; None where it is elsewhere."""
        return None

    @property
    def pinned(self) -> bool:
        """The same bytes for ever, or for as long as the user leaves them alone."""
        return True

    @property
    def origin(self) -> str:
        """Where it is from, without anything of this machine; empty where only its content can say that."""
        return self.id

    def problem(self, needs: str) -> Trouble | None:
        """Why it can't be used; None when nothing speaks against it.

        ``needs`` is the file that a folder must hold; "" where a LoRA is looked for, which may be a file itself. What lies
        elsewhere is not looked up.
        """
        raise NotImplementedError


def looks_local(text: str) -> bool:
    """Whether a text starts as paths do."""
    return text in (".", "..") or text.startswith(("./", "../", "/", "~"))


def beyond_locale(path: str) -> Trouble | None:
    """What is wrong with a path that this locale can't say to the system."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return f"'{path}' has characters that this locale has no bytes for", ("set PYTHONUTF8=1, or LC_ALL=C.UTF-8",)
    return None


def near_names(path: Path) -> tuple[str, ...]:
    """A note with the file beside it that may be meant; none where there is none."""
    try:
        beside = [entry.name for entry in path.parent.iterdir() if entry.suffix.lower() in SINGLE_FILES]
    except OSError:
        return ()
    from difflib import get_close_matches  # nobody waits for this who has made no mistake

    return tuple(f"did you mean {path.parent / near}?" for near in get_close_matches(path.name, beside, 1))
