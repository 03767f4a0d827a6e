"""A repository of the model hub, by its id: ``org/name``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Self

from sdbuild.recipe.source import SINGLE_FILES, Source, Trouble

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class HubSource(Source):
    """Whatever is of no other kind is taken for an id."""

    kind: ClassVar[str] = "hub"
    rank: ClassVar[int] = 100
    title: ClassVar[str] = "a hub model"
    remote: ClassVar[bool] = True

    @classmethod
    def read(cls, text: str, revision: str | None, folder: Path) -> Self:
        """Any text."""
        return cls(id=text, revision=revision)

    @property
    def pinned(self) -> bool:
        """By a commit alone."""
        return bool(self.revision and _COMMIT.fullmatch(self.revision))

    def problem(self, needs: str) -> Trouble | None:
        """It must look like an id."""
        text = self.id
        if match := re.match(r"https?://[^/]+/([^/?#]+/[^/?#]+)", text):
            return "a hub model is named by its id, not its address", (f"did you mean '{match[1]}'?",)
        if text.lower().endswith((*SINGLE_FILES, ".gguf")):
            note = "a file of this machine exists, or starts with ./ ../ / or ~"
            return f"no file '{text}'", (note,)
        if match := re.fullmatch(r"([^@:]+/[^@:]+)[@:]([^@:/]+)", text):
            return "the revision has a key of its own", (f"write {{source: {match[1]}, revision: {match[2]}}}",)
        if not _ID.fullmatch(text) or "--" in text or ".." in text:
            note = "a hub id is org/name; a folder exists, or starts with ./ ../ / or ~; a built-in model is builtin:shapes"
            return f"'{text}' is neither a hub id, nor a folder, nor a built-in model", (note,)
        return None


SOURCE = HubSource
