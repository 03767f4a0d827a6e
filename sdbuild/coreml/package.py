"""Read and write ``.mlpackage`` folders, with the same bytes for the same content.

coremltools names the items of a package by random UUIDs, serialises protobuf maps in whatever order they hash, and
stamps the date; here identifiers derive from content, maps are sorted and nothing tells the time. The layout::

    X.mlpackage/Manifest.json
    X.mlpackage/Data/com.apple.CoreML/model.mlmodel            protobuf: CoreML.Specification.Model
    X.mlpackage/Data/com.apple.CoreML/weights/weight.bin       MIL blob storage, see ``blob``
"""

import hashlib
import json
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError

from sdbuild.coreml.proto import Model_pb2
from sdbuild.digests import digest_written
from sdbuild.errors import UserError
from sdbuild.standins import ENOUGH, stand_in, stand_in_at

_DATA = Path("Data/com.apple.CoreML")
_PARAMETERS = ".parameters.json"
_MANIFEST_LIMIT = 1 << 20
_MODEL_LIMIT = (1 << 31) - 1  # bytes: protobuf has no larger messages
WEIGHT_FILE = "@model_path/weights/weight.bin"
"""How a program in a package names its weight file."""


class PackageError(UserError):
    """A package that cannot be read."""


@dataclass(frozen=True)
class Package:
    """An opened package.

    Attributes:
        path: the folder.
        spec: the ``Model`` message.
        weights: the weight file, if there is one.
        model_file: the file that ``spec`` was read from.
        overlays: items of the manifest that are neither the model nor its weights, such as ``Metadata.json``, which
            Xcode adds; what they hold is not in ``spec``.
    """

    path: Path
    spec: Any
    weights: Path | None
    model_file: Path
    overlays: tuple[str, ...] = ()


def read_package(path: Path) -> Package:
    """Open a ``.mlpackage``. Only regular files inside the folder are opened, whatever its manifest says.

    Raises:
        PackageError: not a folder, no manifest, a manifest that names no model, or a model that is not protobuf.
        MemoryError: too little for the model's program.
    """
    if instead := stand_in_at(path):
        raise PackageError(f"{path}: it {instead}")
    if not path.is_dir():
        raise PackageError(f"{path}: not an .mlpackage folder{'' if path.exists() else ' (no such path)'}")
    root, items = _manifest(path)
    model = _inside(path, "Data/" + root)
    spec = Model_pb2.Model()
    try:
        size = model.stat().st_size
        if size > _MODEL_LIMIT:
            raise PackageError(f"{model}: not a Core ML model: it has {size} bytes, protobuf has 2 GiB at most")
        content = model.read_bytes()
    except OSError as error:
        raise PackageError(f"{model}: cannot be read: {error.strerror}") from None
    if instead := stand_in(content[:ENOUGH]):
        raise PackageError(f"{model}: it {instead}")
    try:
        spec.ParseFromString(content)
    except DecodeError as error:
        if "alloc failed" in str(error):  # protobuf has no other error for it
            raise MemoryError(str(error)) from None
        raise PackageError(f"{model}: damaged: not a Core ML model, or cut short") from None
    weights = PurePosixPath(root).parent / "weights"
    known = {PurePosixPath(root), weights, weights / "weight.bin"}
    file = model.parent / "weights" / "weight.bin"
    return Package(
        path,
        spec,
        _inside(path, f"Data/{weights}/weight.bin") if file.exists() or file.is_symlink() else None,
        model,
        tuple(sorted(item for item in items if PurePosixPath(item) not in known)),
    )


def _manifest(path: Path) -> tuple[str, list[str]]:
    """The place of the model, and of all items, in the folder ``Data``."""
    if not (path / "Manifest.json").exists():
        raise PackageError(f"{path}: not an .mlpackage: Manifest.json is missing")
    file = _inside(path, "Manifest.json")
    try:
        if file.stat().st_size > _MANIFEST_LIMIT:
            raise ValueError(f"larger than {_MANIFEST_LIMIT} bytes")
        if instead := stand_in_at(file):
            raise PackageError(f"{file}: it {instead}")
        manifest = json.loads(file.read_text(encoding="utf-8"))
        entries = manifest["itemInfoEntries"]
        items = [entry["path"] for entry in entries.values()]
        root = entries[manifest["rootModelIdentifier"]]["path"]
        if not all(isinstance(item, str) and item for item in items):
            raise TypeError("a path that is no text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackageError(f"{path}: Manifest.json is not that of an .mlpackage ({error})") from None
    return root, items


def _inside(package: Path, place: str) -> Path:
    """A regular file of the package.

    Raises:
        PackageError: there is none there, or it is a folder, a pipe or a device, or the place is outside the package.
    """
    path = package / place
    try:
        mode = path.stat().st_mode
        within = path.resolve().is_relative_to(package.resolve())
    except FileNotFoundError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, with a zero byte; links in a circle
        reason = error.strerror if isinstance(error, OSError) else error
        raise PackageError(f"{package}: the file {place!r} cannot be read: {reason}") from None
    if not within:
        raise PackageError(
            f"{package}: {place!r} leads out of the package; nothing outside it is read. "
            "Where links lead there that you trust, copy it with what they lead to: cp -rL"
        )
    if not stat.S_ISREG(mode):
        raise PackageError(f"{package}: {place!r} is not a regular file")
    return path


def write_package(path: Path, spec: Any, weights: Path | None) -> Package:
    """Write a package to ``path``, which must not exist; the file ``weights`` is moved into it.

    The bytes depend on ``spec`` and the weights' content alone.
    """
    data = path / _DATA
    data.mkdir(parents=True)
    model = spec.SerializeToString(deterministic=True)
    (data / "model.mlmodel").write_bytes(model)
    root = _identifier("model", hashlib.sha256(model).digest())
    items = {root: _item("model.mlmodel", "CoreML Model Specification", "model.mlmodel")}
    moved = None
    if weights is not None:
        moved = data / "weights" / "weight.bin"
        moved.parent.mkdir()
        weights.rename(moved)
        identifier = _identifier("weights", bytes.fromhex(digest_written(moved)))
        items[identifier] = _item("weights", "CoreML Model Weights", "weights")
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": dict(sorted(items.items())),
        "rootModelIdentifier": root,
    }
    (path / "Manifest.json").write_text(json.dumps(manifest, indent=4) + "\n", encoding="utf-8")
    return Package(path, spec, moved, data / "model.mlmodel")


def write_parameters(package: Package, names: Mapping[str, str]) -> None:
    """Write ``X.parameters.json`` beside ``X.mlpackage``: by name of a constant, the PyTorch parameter that it holds.

    The constants' own names cannot say it: MIL allows no dots in them.
    """
    text = json.dumps(dict(sorted(names.items())), indent=1)
    package.path.with_suffix(_PARAMETERS).write_text(text + "\n", encoding="utf-8")


def read_parameters(package: Package) -> dict[str, str]:
    """What ``write_parameters`` wrote; empty where nothing lies beside the package.

    Raises:
        PackageError: it is damaged.
    """
    path = package.path.with_suffix(_PARAMETERS)
    if not path.is_file():
        return {}
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(names, dict) and all(isinstance(name, str) for name in names.values())):
            raise ValueError("it must map names to names")
    except (OSError, ValueError, RecursionError) as error:
        raise PackageError(f"{path}: damaged ({error}): it says which parameter a constant holds") from None
    return names


def _item(name: str, description: str, path: str) -> dict[str, str]:
    return {
        "author": "com.apple.CoreML",
        "description": description,
        "name": name,
        "path": f"com.apple.CoreML/{path}",
    }


def _identifier(role: str, digest: bytes) -> str:
    """A UUID that says what it identifies: the role keeps two equal files apart."""
    return str(uuid.UUID(bytes=hashlib.sha256(role.encode() + digest).digest()[:16], version=4)).upper()
