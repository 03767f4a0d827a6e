"""Where a model comes from: a hub id, a local diffusers folder, or a model that ships with sdbuild."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from sdbuild.recipe.fields import Strict
from sdbuild.recipe.problems import allowed, display, suggestion

BUILTIN = ("shapes",)
_BUILTIN_MODELS = Path(__file__).resolve().parents[1]
COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


class Source(Strict):
    """A source, found out."""

    kind: Literal["hub", "local", "builtin"] = Field(description="Where to look.")
    id: str = Field(description="Hub id, name of the built-in model, or the folder as the recipe writes it.")
    path: Path | None = Field(default=None, description="The folder of a local source, absolute.")
    revision: str | None = Field(
        default=None, description="Hub only: commit, tag or branch; None means the default branch."
    )

    @property
    def folder(self) -> Path | None:
        """The folder of a local or built-in model; None for one of the hub, or where there is none."""
        return _builtin(self.id) if self.kind == "builtin" else self.path

    @property
    def pinned(self) -> bool:
        """The same bytes for ever: a commit, or something that is not on the hub."""
        return self.kind != "hub" or bool(self.revision and COMMIT.fullmatch(self.revision))


@functools.cache
def _builtin(name: str) -> Path:
    return _BUILTIN_MODELS / name / "model"


def find_source(text: str, revision: str | None, folder: Path) -> Source:
    """What `text` names, for a recipe that lies in `folder`."""
    if text.startswith("builtin:"):
        return Source(kind="builtin", id=text.removeprefix("builtin:"), revision=revision)
    if _looks_local(text) or _exists(folder, text):
        return Source(kind="local", id=text, path=_local(folder, text), revision=revision)
    return Source(kind="hub", id=text, revision=revision)


def source_problem(source: Source, needs: str) -> tuple[str, tuple[str, ...]] | None:
    """Why a source can't be used, as a message and notes; None when nothing speaks against it.

    `needs` is the file that a local folder must hold. A hub id is only looked at, not looked up.
    """
    if source.kind == "builtin":
        if source.id in BUILTIN:
            return None
        known = [f"builtin:{name}" for name in BUILTIN]
        return f"no built-in model '{source.id}'", (*suggestion(f"builtin:{source.id}", known), allowed(known))
    if source.kind == "local":
        return _local_problem(source, needs)
    text = source.id
    if match := re.match(r"https?://[^/]+/([^/?#]+/[^/?#]+)", text):
        return "a hub model is named by its id, not its address", (f"did you mean '{match[1]}'?",)
    if text.lower().endswith(_SINGLE_FILES):
        return "single files can't be read yet: name a hub id or a diffusers folder", ()
    if match := re.fullmatch(r"([^@:]+/[^@:]+)[@:]([^@:/]+)", text):
        return "the revision has a key of its own", (f"write {{source: {match[1]}, revision: {match[2]}}}",)
    if not _HUB_ID.fullmatch(text) or "--" in text or ".." in text:
        notes = (
            "a hub id is org/name; a folder exists, or starts with ./ ../ / or ~; a built-in model is "
            + " or ".join(f"builtin:{name}" for name in BUILTIN),
        )
        return f"'{text}' is neither a hub id, nor a folder, nor a built-in model", notes
    return None


def _local_problem(source: Source, needs: str) -> tuple[str, tuple[str, ...]] | None:
    path = source.path
    try:
        os.fsencode(source.id)
    except UnicodeEncodeError:
        return f"'{source.id}' has characters that this locale has no bytes for", (
            "set PYTHONUTF8=1, or LC_ALL=C.UTF-8",
        )
    try:
        if path is None or not path.exists():
            looked = f"looked for {display(path)}: " if path is not None else ""
            return f"no folder '{source.id}'", (f"{looked}relative folders start at the recipe's own folder",)
        if path.is_file():
            return f"'{source.id}' is a file: name the diffusers folder that holds {needs}", ()
        if not (path / needs).is_file():
            return f"the folder '{source.id}' has no {needs}: not what diffusers saves", ()
    except OSError as error:
        return f"the folder '{source.id}' can't be read: {error.strerror}", ()
    return None


def _looks_local(text: str) -> bool:
    return text in (".", "..") or text.startswith(("./", "../", "/", "~"))


def _exists(folder: Path, text: str) -> bool:
    try:
        return (folder / text).exists()
    except (OSError, ValueError):
        return False


def _local(folder: Path, text: str) -> Path | None:
    try:
        return (folder / Path(text).expanduser()).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, the home of nobody
        return None
