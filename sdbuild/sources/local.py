"""A diffusers folder on this machine."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.base import MOST_TO_READ, Progress, SourceFile
from sdbuild.sources.card import CARD

_KINDS = (".json", ".txt", ".safetensors", ".bin", ".pt")
"""What a pipeline is made of; a folder may hold much else."""

_SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


class LocalSource:
    """A folder as diffusers saves it. Its files are linked, never copied."""

    commit = None
    single: str | None = None
    title: str | None = None
    caveat = ""

    def __init__(self, folder: Path, name: str) -> None:
        """Nothing is looked at yet."""
        self.name = name
        self._folder = folder

    @cached_property
    def files(self) -> dict[str, SourceFile]:
        """The files of the folder and of its sub-folders; deeper ones belong to no component."""
        _must_be_folder(self._folder, self.name)
        try:
            top = sorted(self._folder.iterdir())
            paths = [*top, *(path for entry in top if entry.is_dir() for path in sorted(entry.iterdir()))]
            files = [self._about(path) for path in paths if _is_of_a_model(path) and self._is_file(path)]
        except OSError as error:
            raise SourceError(f"{self.name}: {error.filename} can't be read: {error.strerror}") from None
        return {file.path: file for file in files}

    def _about(self, path: Path) -> SourceFile:
        return SourceFile(path.relative_to(self._folder).as_posix(), path.stat().st_size)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        if path not in self.files:
            raise SourceError(f"{self.name}: there is no {path}; a diffusers folder has one: save or download it whole")
        if self.files[path].size > MOST_TO_READ:
            raise SourceError(
                f"{self.name}: {path} has {self.files[path].size:,} bytes, too many for what it should be"
            )
        try:
            return (self._folder / path).read_bytes()
        except OSError as error:
            raise SourceError(f"{self.name}: {path} can't be read: {error.strerror}") from None

    def _is_file(self, path: Path) -> bool:
        if path.is_file() or path.is_dir() or not path.exists():
            return path.is_file()
        where = path.relative_to(self._folder).as_posix()
        raise SourceError(
            f"{self.name}: {where} is a pipe, a socket or a device, and no file; put the file itself there, or remove it"
        )

    def read_start(self, path: str, count: int) -> bytes:
        """The first bytes of a file."""
        try:
            with (self._folder / path).open("rb") as content:
                return content.read(count)
        except OSError as error:
            raise SourceError(f"{self.name}: {path} can't be read: {error.strerror}") from None

    def fetch(self, file: SourceFile, folder: Path, scratch: Path, progress: Progress) -> None:
        """Link to the file. Raises SourceError when it is not the one that the record was made of."""
        path = (self._folder / file.path).resolve()
        if not path.is_file():
            raise SourceError(f"{self.name}: {file.path} is gone; put it back, or name another source")
        if path.stat().st_size != file.size:
            raise SourceError(f"{self.name}: {file.path} has changed while it was being built from; build again")
        (folder / file.name).symlink_to(path)
        progress(file.size)


def open_source(facts: Mapping[str, Any], commit: str | None) -> LocalSource:
    """The folder at ``path``, absolute; it has no commits."""
    return LocalSource(Path(facts["path"]), facts["id"])


def _is_of_a_model(path: Path) -> bool:
    return path.suffix in _KINDS or path.name == CARD


def _must_be_folder(folder: Path, name: str) -> None:
    if folder.is_dir():
        return
    if folder.is_file():
        if folder.suffix.lower() in _SINGLE_FILES:
            raise SourceError(f"{name}: a single file where a folder was; build again, and it is read as one")
        raise SourceError(f"{name}: a file; name the diffusers folder that holds model_index.json")
    beside = [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] if folder.parent.is_dir() else []
    near = get_close_matches(folder.name, beside, 1)
    hint = f"; did you mean {folder.parent / near[0]}?" if near else f"; {folder} is where it was looked for"
    raise SourceError(f"{name}: no such folder{hint}")
