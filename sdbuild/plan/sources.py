"""Where a model comes from, as the parameters of the stages that read it."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from sdbuild.errors import SourceError
from sdbuild.job import parts
from sdbuild.jobs.config import SourceFacts
from sdbuild.recipe import Component, Recipe
from sdbuild.recipe.embeddings import Embedding
from sdbuild.recipe.source import Source


class LocalFiles:
    """The state of the files of local and built-in models, each folder looked at once however many builds ask.

    It makes an edit of the model change the key of the stages that read it. Whether anything later runs again is for the
    content to decide.
    """

    def __init__(self) -> None:
        """Nothing was looked at yet."""
        self._seen: dict[Path, dict[str, str]] = {}

    def of(self, source: Source, folders: Iterable[str]) -> dict[str, str]:
        """Relative path → state of the files anywhere in the sub-folders named; "" is for those right in the source.

        The state of a local file is "size:mtime:ctime", times in ns: where content changed while size and time stayed, or were
        put back, the time of the last change of any kind did not stay, which nobody can put back. A built-in one is small, and
        its place and time are nobody's choice: its state is its SHA-256, so that clones share what they build from it.

        Raises:
            UserError: the model can't be read.
        """
        root, found = local_folder(source), {}
        state = _digest if source.shipped else _state
        for folder in folders:
            place = root / folder
            try:
                if place not in self._seen:
                    files = place.iterdir() if place == root else place.rglob("*")
                    self._seen[place] = {
                        file.relative_to(root).as_posix(): state(file)
                        for file in files
                        if file.is_file() and not file.name.startswith(".")
                    }
            except OSError as error:
                raise SourceError(f"{error.filename}: the model's files can't be read: {error.strerror}") from None
            found.update(self._seen[place])
        return dict(sorted(found.items()))

    def of_file(self, file: Path) -> dict[str, str]:
        """The same of a single file, by its name. Raises UserError: it can't be read."""
        if file not in self._seen:
            try:
                self._seen[file] = {file.name: _state(file)}
            except OSError as error:
                raise SourceError(f"{file}: can't be read: {error.strerror}") from None
        return self._seen[file]


def _state(file: Path) -> str:
    stat = file.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def source_facts(source: Source, files: LocalFiles, folders: Iterable[str]) -> SourceFacts:
    """A source as stages get it; of a local one also the state of ``folders``, for those it lacks that of its root."""
    if source.remote:
        return SourceFacts(kind=source.kind, id=source.id, revision=source.revision, sha256=source.sha256)
    if source.file is not None:
        return SourceFacts(
            kind=source.kind, id=source.id, path=str(source.file.parent), files=files.of_file(source.file)
        )
    root = local_folder(source)
    present = {folder if (root / folder).is_dir() else "" for folder in folders}
    path = None if source.shipped else str(root)
    return SourceFacts(kind=source.kind, id=source.id, path=path, files=files.of(source, present))


def embedding_facts(embedding: Embedding, files: LocalFiles) -> tuple[SourceFacts, str | None]:
    """The source of an embedding as stages get it, and its file there, where that is known; of a file of the user's the source
    is its folder.

    Raises:
        UserError: it can't be read.
    """
    source, file = embedding.source, embedding.file
    if source.remote:
        return source_facts(source, files, ()), file
    path = source.file or local_folder(source)
    try:
        if source.shipped:
            name = str(file)
            return SourceFacts(kind=source.kind, id=source.id, files={name: _digest(path / name)}), name
        known = {path.name: _state(path)}
    except OSError as error:
        raise SourceError(f"{error.filename}: the embedding can't be read: {error.strerror}") from None
    return SourceFacts(kind=source.kind, id=source.id, path=str(path.parent), files=known), path.name


def outside_files(job: object) -> dict[str, tuple[int, ...]]:
    """The files of the user's that a job's stage may read: path → size, and times of modification and of the last change of any
    kind in ns, as they are in its key."""
    found = {}
    for facts in parts(job, SourceFacts):
        for path, state in facts.files.items() if facts.path is not None else ():
            found[f"{facts.path}/{path}"] = tuple(map(int, state.split(":")))
    return found


def local_folder(source: Source) -> Path:
    """The folder of a local or built-in model."""
    assert source.folder is not None, "recipes with a source that is not there don't load"
    return source.folder


def origin(source: Source) -> dict[str, str]:
    """Where a model is from, by the kind of source and without anything of this machine."""
    return {source.kind: source.origin}


def weight_bytes_of(source: Source, folder: str, variant: str | None = None) -> int:
    """Bytes of the weight files in a folder of a local source: of one format and variant, as a build takes them. A single file
    is as large for every folder."""
    if source.file is not None:
        return source.file.stat().st_size
    root = local_folder(source)
    place = root / folder if (root / folder).is_dir() else root
    try:
        sizes = {file.name: file.stat().st_size for file in place.iterdir() if file.is_file()}
    except OSError as error:
        raise SourceError(f"{error.filename}: the model's files can't be read: {error.strerror}") from None
    sets: dict[tuple[str, str], int] = defaultdict(int)
    for name, size in sizes.items():
        if match := _WEIGHTS.fullmatch(name):
            sets[match["suffix"], match["variant"] or match["old"] or _PLAIN] += size
    formats = ("safetensors", "bin")
    wanted = [(suffix, variant) for suffix in formats if variant is not None]
    usual = [(suffix, each) for suffix in formats for each in ("fp16", _PLAIN)]
    return next((sets[each] for each in (*wanted, *usual) if each in sets), 0)


_PLAIN = "plain"
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>[\w-]+?))?(?:-\d{5}-of-\d{5})?(?:\.(?P<old>[\w-]+))?"
    r"\.(?P<suffix>safetensors|bin)"
)
"""A file of weights, or a part of one; older diffusers put the variant behind the part's number."""


def place_of(recipe: Recipe, component: Component) -> tuple[str, str]:
    """Where a component's weights lie: the key of the recipe that names the source, and the folder there, "" for a single file.
    What shares a place shares a download.
    """
    name = recipe.model.name_of(component.source)
    return name, "" if recipe.model.named[name].single else component.folder
