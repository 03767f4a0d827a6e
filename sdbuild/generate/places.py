"""Where a bundle lies: a folder of ``doit build``, a Resources folder, a repository as on the hub, or a zip of these."""

import fcntl
import json
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sdbuild.delivered import MANIFEST, RESOURCES
from sdbuild.errors import UsageError, UserError
from sdbuild.standins import stand_in_at

_MODELS = ("Unet", "UnetChunk1", "TextEncoder", "TextEncoder2", "VAEDecoder", "MultiModalDiffusionTransformer")
_DEPTH = 5  # the hub's cache: snapshots/<commit>/original/compiled
_LAYOUT = frozenset({"Resources", "compiled", "original", "split_einsum", "split_einsum_v2"})
_MAX_ENTRIES = 100_000
_BLOCK = 1 << 20
_NAME = "name a folder or a zip that holds one, such as build/<recipe> after `doit build`"
_SCRATCH, _LOCK = "sdbuild-unpacked-", "lock"


@dataclass(frozen=True)
class Place:
    """``folder`` holds ``manifest.json``, or compiled models; it is there as long as ``kept`` is not let go."""

    folder: Path
    kept: object = None


def find_place(path: Path) -> Place:
    """The one bundle at ``path``.

    Raises:
        UsageError: there is nothing at this path, or what can't hold a bundle.
        UserError: there is none, there are several, or it is a zip that cannot be unpacked.
    """
    _look_at(path)
    if path.is_file() and zipfile.is_zipfile(path):
        unpacked = _unpack(path)
        return Place(_only(path, unpacked.files), unpacked)
    if path.is_file():
        if wrong := stand_in_at(path):
            raise UserError(f"{path}: it {wrong}")
        raise UserError(
            f"{path}: no bundle there (a file that is no zip, or not a whole one): get it again, or {_NAME}"
        )
    return Place(_only(path, path))


def _look_at(path: Path) -> None:
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: no bundle there, as there is no such file or folder: {_NAME}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be looked up ({error.strerror})") from None
    if kind not in (stat.S_IFDIR, stat.S_IFREG):
        raise UsageError(f"{path}: no bundle there (neither a folder nor a regular file): {_NAME}")


def name_of(path: Path) -> str:
    """What to call the bundle at ``path``: the last part of its path that is no word of a layout, without ``.zip``."""
    parts = [part for part in path.resolve().parts if part not in _LAYOUT]
    return parts[-1].removesuffix(".zip") if len(parts) > 1 else path.name


def _only(path: Path, folder: Path) -> Path:
    """The one bundle in ``folder``, which messages call ``path``."""
    found = list(_bundles(folder, _DEPTH))
    if len(found) == 1:
        return found[0] if found[0] != folder else _with_manifest(folder)
    if found:
        inside = [place.relative_to(folder).as_posix() for place in found]
        how = f"name one, such as {path / inside[0]}" if folder == path else "unpack it, and name one"
        raise UserError(f"{path}: holds several bundles ({_listed(inside)}): {how}")
    if zips := sorted(each.name for each in folder.glob("*.zip")):
        raise UserError(f"{path}: no bundle there, but zips ({_listed(zips)}): name one")
    if packages := sorted(each.name for above in ("", "*/", "*/*/") for each in folder.glob(f"{above}*.mlpackage")):
        raise UserError(
            f"{path}: no bundle there, but packages that are not compiled ({_listed(packages)}): compile each with "
            "python -m sdbuild.coreml.compiler, and give them the Swift package's names"
        )
    raise UserError(f"{path}: no bundle there (it has no manifest.json, and no compiled models): {_NAME}")


def _with_manifest(folder: Path) -> Path:
    """A build's folder for its ``Resources``, as the manifest lies beside them."""
    above = folder.resolve().parent
    if folder.resolve().name != RESOURCES or (folder / MANIFEST).is_file():
        return folder
    try:
        manifest = json.loads((above / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return folder
    ours = isinstance(manifest, dict) and {"schema", "pipeline", "sha256"} <= manifest.keys()
    return above if ours else folder


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _bundles(folder: Path, depth: int) -> Iterator[Path]:
    """Folders with a manifest or with models, from above; nothing is looked for inside of one."""
    if not folder.is_dir():
        return
    if (folder / "manifest.json").is_file() or any((folder / f"{name}.mlmodelc").is_dir() for name in _MODELS):
        yield folder
    elif depth:
        try:
            inside = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None
        for each in inside:
            if each.suffix not in (".mlmodelc", ".mlpackage"):
                yield from _bundles(each, depth - 1)


class _Scratch(tempfile.TemporaryDirectory[str]):
    """A folder that is removed with this object, or with its process; after one that was killed, by the next process.

    Whoever uses it holds a lock in it, which ends with the process however that ends.
    """

    def __init__(self) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
            _remove_abandoned(left)
        super().__init__(prefix=_SCRATCH)
        self._lock = (Path(self.name) / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.files = Path(self.name) / "files"
        self.files.mkdir()


def _remove_abandoned(folder: Path) -> None:
    """Remove a folder of this user's that nobody holds; one that was just made, and has no lock yet, is left alone."""
    try:
        if folder.lstat().st_uid == os.getuid():
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # held, or not of this kind
        pass


def _unpack(path: Path) -> _Scratch:
    """The files of a zip."""
    try:
        folder = _Scratch()
    except OSError as error:
        raise UserError(f"{path}: cannot be unpacked ({error.strerror or error})") from None
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked(path, archive.infolist())
            need, free = sum(entry.file_size for entry in entries.values()), shutil.disk_usage(folder.name).free
            if need > free:
                raise UserError(
                    f"{path}: unpacked it takes {need / 1e9:.1f} GB, and {folder.name} has {free / 1e9:.1f} GB free; name "
                    "another place with the variable TMPDIR"
                )
            for name, entry in entries.items():
                target = folder.files / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        folder.cleanup()
        raise UserError(f"{path}: a damaged zip, or of a kind that can't be read ({error}); get it again") from None
    except OSError as error:
        folder.cleanup()
        raise UserError(f"{path}: cannot be unpacked ({error.strerror or error})") from None
    except UserError:
        folder.cleanup()
        raise
    return folder


def _checked(path: Path, entries: Sequence[zipfile.ZipInfo]) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The entries to write by their place below the folder. Raises UserError for one that would lie elsewhere."""
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for entry in entries:
        name = PurePosixPath(entry.filename)
        why = None
        if name.is_absolute() or ".." in name.parts or any(c in entry.filename for c in "\\:\0"):
            why = "would lie outside of the folder"
        elif stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            why = "is no file: a link or a device"
        elif entry.flag_bits & 1:
            why = "is encrypted"
        elif name in found:
            why = "is there twice"
        if why is not None:
            raise UserError(f"{path}: not unpacked: its entry {entry.filename!r} {why}")
        if not entry.is_dir() and name.parts and name.parts[0] != "__MACOSX":
            found[name] = entry
    if len(found) > _MAX_ENTRIES:
        raise UserError(f"{path}: not unpacked: it has {len(found)} entries, and a bundle some hundred")
    return found
