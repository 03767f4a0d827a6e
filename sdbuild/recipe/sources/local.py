"""A folder on this machine, as diffusers saves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from sdbuild.recipe.problems import display
from sdbuild.recipe.source import Source, Trouble, beyond_locale, looks_local

_BUILT = (".mlmodelc", ".mlpackage")


@dataclass(frozen=True)
class LocalSource(Source):
    """A path that starts as paths do, or that exists."""

    kind: ClassVar[str] = "local"
    rank: ClassVar[int] = 1
    title: ClassVar[str] = "a local folder"

    path: Path | None = None
    """The folder, absolute; None where the text can't be a path."""

    @classmethod
    def read(cls, text: str, revision: str | None, folder: Path) -> Self | None:
        """Relative to the recipe's folder."""
        if looks_local(text) or _exists(folder, text):
            return cls(id=text, path=_absolute(folder, text), revision=revision)
        return None

    @property
    def folder(self) -> Path | None:
        """The folder."""
        return self.path

    @property
    def origin(self) -> str:
        """Nothing: a folder's name may be anybody's."""
        return ""

    def problem(self, needs: str) -> Trouble | None:
        """It must be a folder that holds ``needs``, if anything."""
        if trouble := beyond_locale(self.id):
            return trouble
        try:
            if self.path is None or not self.path.exists():
                looked = f"looked for {display(self.path)}: " if self.path is not None else ""
                return f"no folder '{self.id}'", (f"{looked}relative folders start at the recipe's own folder",)
            if needs and not (self.path / needs).is_file():
                if built := next((each.name for each in self.path.iterdir() if each.suffix in _BUILT), None):
                    return f"the folder '{self.id}' has Core ML models ({built}), which are what sdbuild makes", (
                        "name the diffusers folder or the file of weights that they were made of",
                    )
                return f"the folder '{self.id}' has no {needs}: not what diffusers saves", ()
        except OSError as error:
            return f"the folder '{self.id}' can't be read: {error.strerror}", ()
        return None


def _exists(folder: Path, text: str) -> bool:
    try:
        return (folder / text).exists()
    except (OSError, ValueError):
        return False


def _absolute(folder: Path, text: str) -> Path | None:
    try:
        return (folder / Path(text).expanduser()).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, the home of nobody
        return None


SOURCE = LocalSource
