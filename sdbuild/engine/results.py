"""Results for the user: ``build/<recipe>/``, ``build/<recipe>/<variant>/`` or in ``out=``, shown by hard links into the store.

What belongs to sdbuild in there is ``packages``, ``Resources``, ``manifest.json``, what ``verify`` found and the zip; it is
kept as it should be.
Anything else in these folders is left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sdbuild.delivered import ENTRIES, MANIFEST, PACKAGES, ZIP_END, is_taken
from sdbuild.errors import UsageError, UserError
from sdbuild.plan import Build, Node
from sdbuild.store import Artifact, Lock, Store, explain
from sdbuild.store.digest import walk
from sdbuild.store.errors import UNWRITABLE, explained

_NEW, _OLD = ".sdbuild-new", ".sdbuild-old"


@dataclass(frozen=True)
class Result:
    """What a build's folder should hold."""

    folder: Path
    files: Mapping[str, Path]
    """Path relative to the folder → the file in the store."""


@dataclass(frozen=True)
class Destination:
    """Where results go."""

    here: Path
    """Where the user stands."""
    out: Path | None = None
    """The folder for the results of a recipe, instead of ``build/<recipe>/`` in there."""

    @classmethod
    def of(cls, variables: Mapping[str, str], here: Path) -> Destination:
        """As ``out=`` says."""
        return cls(here, here / variables["out"] if "out" in variables else None)

    @property
    def locks(self) -> Path:
        """A folder for locks, where the store takes none."""
        return self.out or self.here / "build"

    def top(self, build: Build) -> Path:
        """The folder for a recipe."""
        return self.out or self.here / "build" / build.name

    def folder(self, build: Build) -> Path:
        """The folder for a build: its variant's, where the recipe has variants."""
        return self.top(build) / build.variant if build.variant else self.top(build)

    def check(self, build: Build, store: Store) -> None:
        """Raise UserError if ``out=`` can't be meant, or has files of somebody else where results would be written."""
        if self.out is None:
            return
        folder = self.folder(build)
        if store.root.resolve() in (folder.resolve(), *folder.resolve().parents):
            raise UsageError(f"out={self.out}: is in the store, which only sdbuild writes to; name another folder")
        names = owned(folder)
        if names and not _is_ours(folder) and not any((folder / name).exists() for name in (_NEW, _OLD)):
            raise UserError(
                f"{folder} has {' and '.join(names[:2])} that sdbuild did not write, and would be replaced: name another "
                "folder with out=, or move them away"
            )


def shown_parts(build: Build) -> list[tuple[Node, str | None]]:
    """What results are made of: artifacts, each whole or a folder of it, the bundle and then packages."""
    return [(build.result, None), *((model.package.node, model.package.subpath) for model in build.models)]


def result_of(build: Build, artifacts: Mapping[Node, Artifact], to: Destination) -> Result:
    """What a finished build has to show."""
    files = {}
    for node, subpath in shown_parts(build):
        prefix, within = (f"{PACKAGES}/", f"{subpath}/") if subpath else ("", "")
        for file in artifacts[node].stamp.files:
            if file.path.startswith(within):
                files[f"{prefix}{file.path}"] = artifacts[node].path / file.path
    return Result(to.folder(build), files)


def is_published(result: Result) -> bool:
    """The folder holds just these files, and nobody changed them."""
    try:
        found = {}
        for name in owned(result.folder):
            path = result.folder / name
            if path.is_dir():
                found.update({f"{name}/{file}": stat for file, stat in walk(path)})
            else:
                found[name] = path.stat()
        return found.keys() == result.files.keys() and all(
            same_file(stat, result.files[name].stat()) for name, stat in found.items()
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


def publish(result: Result) -> None:
    """Make the folder show the result. Each entry of it is complete at every moment, the former one or the new.

    Raises:
        UserError: it can't be written.
    """
    try:
        _publish(result)
    except OSError as error:
        raise unwritten(error, result.folder) from error


def _publish(result: Result) -> None:
    folder = result.folder
    folder.mkdir(parents=True, exist_ok=True)
    new, old = folder / _NEW, folder / _OLD
    _remove(new)
    _remove(old)
    for name, source in result.files.items():
        target = new / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(source, target)
    old.mkdir()
    names = {name.partition("/")[0] for name in result.files}
    for name in sorted(names | set(owned(folder))):
        if (folder / name).exists() or (folder / name).is_symlink():
            (folder / name).rename(old / name)
        if name in names:
            (new / name).rename(folder / name)
    _remove(new)
    _remove(old)


def withdraw(folder: Path) -> bool:
    """Remove a build's results; False when there were none. The folder goes too unless something else is in it."""
    if not folder.is_dir():
        return False
    names = owned(folder)
    for name in (*names, _NEW, _OLD):
        _remove(folder / name)
    if not any(folder.iterdir()):
        folder.rmdir()
    return bool(names)


def owned(folder: Path) -> list[str]:
    """The entries of a build's folder that sdbuild put there."""
    if not folder.is_dir():
        return []
    zips = sorted(path.name for path in folder.glob(f"*{ZIP_END}"))
    return [name for name in (*ENTRIES, *zips) if (folder / name).exists() or (folder / name).is_symlink()]


def stale_folders(builds: Iterable[Build], to: Destination, former: Container[str] | None = None) -> list[Path]:
    """Folders with results of variants that their recipe no longer has; if given, only of ``former`` ones ("": of none)."""
    wanted = {to.folder(build) for build in builds}
    found = []
    for top in sorted({to.top(build) for build in builds}):
        below = [path for path in sorted(top.glob("*")) if path.is_dir() and not is_taken(path.name)]
        named = [("", top), *((path.name, path) for path in below)]
        candidates = [path for variant, path in named if former is None or variant in former]
        found += [path for path in candidates if path not in wanted and _is_ours(path)]
    return found


def _is_ours(folder: Path) -> bool:
    """There is a manifest in it, and one of a bundle: other things have files of that name."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"schema", "pipeline", "sha256"} <= manifest.keys()


def lock_results(store: Store, folder: Path, to: Destination) -> Lock:
    """Two builds may want to write a folder at once: the lock for it, in the store or, where that takes none, beside results.

    Raises:
        UserError: neither takes it.
    """
    name = f"results-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]}"
    with explained(store.root):
        try:
            return Lock.take(store.lock_path(name))
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
    try:
        return Lock.take(to.locks / f".{name}")
    except OSError as error:
        raise unwritten(error, folder) from error


def unwritten(error: OSError, folder: Path) -> UserError:
    """What to report where the results of a build can't be written to a folder."""
    return UserError(
        f"the results can't be written: {explain(error, folder, 'build from a folder of your own') or error}"
    )


def same_file(found: os.stat_result, wanted: os.stat_result) -> bool:
    """One is a hard link to the other, or a copy of it that nobody has changed."""
    return os.path.samestat(found, wanted) or (
        found.st_size == wanted.st_size and found.st_mtime_ns == wanted.st_mtime_ns
    )


def _link(source: Path, target: Path) -> None:
    """A hard link; where that can't be, a copy."""
    source = source.resolve()  # never a link to a symlink, which others' moves could break
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
