"""A single file of weights on this machine: ``./portraits.safetensors``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from sdbuild.recipe.problems import display
from sdbuild.recipe.source import SINGLE_FILES, Source, Trouble, beyond_locale, looks_local, near_names

_UNREADABLE = {
    ".gguf": "a file of quantized weights, which only its own programs read",
    ".onnx": "an ONNX model, which is a program and no checkpoint",
    ".mlmodel": "a Core ML model, which is what sdbuild makes",
}


@dataclass(frozen=True)
class FileSource(Source):
    """A path with the suffix of weights, which starts as paths do or exists; and any file that exists."""

    kind: ClassVar[str] = "file"
    rank: ClassVar[int] = 1
    title: ClassVar[str] = "a single file"
    single: ClassVar[bool] = True

    path: Path | None = None
    """The file, absolute; None where the text can't be a path."""

    @classmethod
    def read(cls, text: str, revision: str | None, folder: Path) -> Self | None:
        """Relative to the recipe's folder."""
        place = _absolute(folder, text)
        if (looks_local(text) and text.lower().endswith((*SINGLE_FILES, *_UNREADABLE))) or _is_file(place):
            return cls(id=text, path=place, revision=revision)
        return None

    @property
    def file(self) -> Path | None:
        """The file."""
        return self.path

    @property
    def origin(self) -> str:
        """Nothing: a file's name may be anybody's."""
        return ""

    def problem(self, needs: str) -> Trouble | None:
        """It must be a file that may hold weights."""
        if trouble := beyond_locale(self.id):
            return trouble
        try:
            if self.path is None or not self.path.exists():
                looked = f"looked for {display(self.path)}: " if self.path is not None else ""
                near = near_names(self.path) if self.path is not None else ()
                return f"no file '{self.id}'", (*near, f"{looked}relative paths start at the recipe's own folder")
            if self.path.is_dir():
                return f"'{self.id}' is a folder, called like a file: name it with a slash at its end", ()
            suffix = self.path.suffix.lower()
            if what := _UNREADABLE.get(suffix):
                return f"'{self.id}' is {what}", ("name a file of safetensors, or a diffusers folder",)
            if suffix not in SINGLE_FILES:
                return f"'{self.id}' is a file: name the diffusers folder that holds {needs}", (
                    f"or a file of weights: {', '.join(SINGLE_FILES)}",
                )
        except OSError as error:
            return f"the file '{self.id}' can't be read: {error.strerror}", ()
        return None


def _absolute(folder: Path, text: str) -> Path | None:
    """Not resolved: what a link is called tells what it leads to, as in the hub's cache."""
    try:
        return Path(os.path.normpath((folder / Path(text).expanduser()).absolute()))
    except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, the home of nobody
        return None


def _is_file(path: Path | None) -> bool:
    try:
        return path is not None and path.is_file()
    except (OSError, ValueError):
        return False


SOURCE = FileSource
