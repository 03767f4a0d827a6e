"""Folders whose files are found by listing them: sdbuild's own, and those of the same names in the user's extensions.

An extension is a folder that is laid out as sdbuild's is. `SDBUILD_EXTENSIONS` names one, or several with colons between them,
for all processes of a build; they stand in ``sdbuild.__path__`` behind sdbuild's own folder.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pkgutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import sdbuild
from sdbuild.errors import UserError

VARIABLE = "SDBUILD_EXTENSIONS"

OPEN = (
    "bundle.contracts",
    "compress.steps",
    "engine.commands",
    "jobs",
    "modeling.adapters.kinds",
    "modeling.adapters.namings",
    "modeling.components",
    "modeling.overlays",
    "pipelines",
    "recipe.sources",
    "recipe.steps",
    "sources",
    "sources.layouts",
    "stages",
    "verify.originals",
)
"""The folders that an extension may have."""


def extensions() -> list[Path]:
    """The folders of all extensions."""
    return [Path(folder) for folder in sdbuild.__path__[1:]]


def folders(package: str) -> list[str]:
    """Where the files of ``sdbuild.<package>`` lie: sdbuild's own folder first."""
    inner = package.removeprefix("sdbuild.").replace(".", "/")
    return [f"{folder}/{inner}" for folder in sdbuild.__path__]


@functools.cache
def data(folder: str) -> Path:
    """`pipelines/` or `configs/`: of a checkout, or the copy inside an installed wheel."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / folder
    return installed if installed.is_dir() else package.parent / folder


def names(path: Iterable[str]) -> list[str]:
    """The modules in folders, in the order of the alphabet; nothing is imported."""
    return sorted(each.name for each in pkgutil.iter_modules(path))


@dataclass(frozen=True)
class Code:
    """What an extension consists of: all files that are in it, as any of them may import, or read, any other."""

    digest: str
    """SHA-256 of their names and contents."""
    files: Mapping[str, tuple[int, int]]
    """Path → size and modification time in ns, as they were before they were read."""


def outside(modules: Iterable[str]) -> dict[str, Code]:
    """Those of some modules and packages of sdbuild's that extensions have, as paths, each with all that is in its extension.

    A module is named like ``modeling.components.unet``; a package stands for all that extensions have in it.

    Raises:
        UserError: an extension can't be read.
    """
    found = {}
    for extension in extensions():
        for inner in (module.replace(".", "/") for module in modules):
            for path, there in ((f"{inner}.py", Path.is_file), (inner, Path.is_dir)):
                if there(extension / path):
                    found[path] = _read(extension)
    return found


@functools.cache
def _read(extension: Path) -> Code:
    whole, files = hashlib.sha256(), {}
    try:
        for file in _files(extension):
            found = file.stat()
            if not stat.S_ISREG(found.st_mode):
                raise UserError(f"{file}: the extension can't be read: this is no file; remove it")
            with file.open("rb") as content:
                own = hashlib.file_digest(content, "sha256").hexdigest()
            files[str(file)] = found.st_size, found.st_mtime_ns
            whole.update(f"{file.relative_to(extension).as_posix()}\0{own}\n".encode(errors="surrogateescape"))
    except OSError as error:
        raise UserError(f"{error.filename}: the extension can't be read: {error.strerror}") from None
    return Code(whole.hexdigest(), files)


def _files(extension: Path) -> Iterator[Path]:
    """In a fixed order; neither what is hidden, nor what Python has compiled."""

    def failed(error: OSError) -> None:
        raise error

    seen = set()
    for folder, inner, found in os.walk(extension, onerror=failed, followlinks=True):
        seen.add(os.path.realpath(folder))
        inner[:] = sorted(
            name
            for name in inner
            if not name.startswith(".") and name != "__pycache__" and os.path.realpath(f"{folder}/{name}") not in seen
        )
        yield from (Path(folder, name) for name in sorted(found) if not name.startswith("."))


def check() -> None:
    """Look at what `SDBUILD_EXTENSIONS` names, before anything of it is used.

    Raises:
        UserError: it is no folder, it can't be read, there is nothing in it that sdbuild looks for, or a file that sdbuild or
            another extension has already, so that one of the two would be ignored.
    """
    known: dict[str, Path] = {}
    for folder in extensions():
        if not folder.is_dir():
            raise UserError(f"{VARIABLE}: no folder {folder}; name folders, with '{os.pathsep}' between them")
        places = [folder.joinpath(*package.split(".")) for package in OPEN]
        if not any(place.is_dir() for place in places):
            allowed = ", ".join(package.replace(".", "/") for package in OPEN)
            raise UserError(
                f"{VARIABLE}: {folder} has none of the folders that an extension may have: {allowed}; see "
                "docs/architecture.md"
            )
        for name, file in _named(folder):
            if other := known.get(name) or _own(name):
                raise UserError(f"{VARIABLE}: {file} is called like {other}; give it another name")
            known[name] = file


def _named(extension: Path) -> Iterator[tuple[str, Path]]:
    """Its families and all that can be imported of it, helpers too: each name, a package's being its folder's, and the file."""
    try:
        for file in _files(extension):
            inner = file.relative_to(extension)
            if inner.suffix == ".py" and inner.stem == "__init__":
                inner = inner.parent
            elif inner.suffix != ".py" and not (inner.parent == Path("pipelines") and inner.match("*.y*ml")):
                continue
            if inner.name:  # not the extension itself
                yield inner.with_suffix("").as_posix(), file
    except OSError as error:
        raise UserError(f"{error.filename}: the extension can't be read: {error.strerror}") from None


def _own(name: str) -> str | None:
    """What sdbuild itself has of that name."""
    inner, _, stem = name.rpartition("/")
    if inner == "pipelines":
        place = data(inner) / f"{stem}.yaml"
    else:
        place = Path(sdbuild.__path__[0], inner, f"{stem}.py")
        if not place.exists():
            place = Path(sdbuild.__path__[0], inner, stem, "__init__.py")
    return f"sdbuild's own {name}" if place.is_file() else None
