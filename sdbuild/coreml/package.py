"""Read and write ``.mlpackage`` folders, with the same bytes for the same content.

coremltools names the items of a package by random UUIDs, serialises protobuf maps in whatever order they hash, and
stamps the date; here identifiers derive from content, maps are sorted and nothing tells the time. The layout::

    X.mlpackage/Manifest.json
    X.mlpackage/Data/com.apple.CoreML/model.mlmodel            protobuf: CoreML.Specification.Model
    X.mlpackage/Data/com.apple.CoreML/weights/weight.bin       MIL blob storage, see ``blob``
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from sdbuild.coreml.proto import Model_pb2
from sdbuild.errors import UserError

_DATA = Path("Data/com.apple.CoreML")
_PARAMETERS = ".parameters.json"
WEIGHT_FILE = "@model_path/weights/weight.bin"
"""How a program in a package names its weight file."""


class PackageError(UserError):
    """A package that cannot be read."""


@dataclass(frozen=True)
class Package:
    """An opened package: its folder, its protobuf message, and its weight file if it has one."""

    path: Path
    spec: Any
    weights: Path | None

    @property
    def model_file(self) -> Path:
        """The file that ``spec`` was read from."""
        return self.path / _DATA / "model.mlmodel"


def read_package(path: Path) -> Package:
    """Open a ``.mlpackage``.

    Raises:
        PackageError: not a folder, no manifest, a manifest that names no model, or a model that is not protobuf.
        MemoryError: too little for the model's program.
    """
    if not path.is_dir():
        raise PackageError(f"{path}: not an .mlpackage folder{'' if path.exists() else ' (no such path)'}")
    try:
        manifest = json.loads((path / "Manifest.json").read_text(encoding="utf-8"))
        model = path / "Data" / manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except FileNotFoundError:
        raise PackageError(f"{path}: not an .mlpackage: Manifest.json is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackageError(f"{path}: Manifest.json is not that of an .mlpackage ({error})") from None
    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(model.read_bytes())
    except OSError as error:
        raise PackageError(f"{model}: cannot be read: {error.strerror}") from None
    except DecodeError as error:
        if "alloc failed" in str(error):  # protobuf has no other error for it
            raise MemoryError(str(error)) from None
        raise PackageError(f"{model}: damaged: not a Core ML model, or cut short") from None
    weights = model.parent / "weights" / "weight.bin"
    return Package(path, spec, weights if weights.is_file() else None)


def write_package(path: Path, spec: Any, weights: Path | None) -> Package:
    """Write a package to ``path``, which must not exist; the file ``weights`` is moved into it.

    The bytes depend on ``spec`` and the weights' content alone.
    """
    data = path / _DATA
    data.mkdir(parents=True)
    model = spec.SerializeToString(deterministic=True)
    (data / "model.mlmodel").write_bytes(model)
    root = _identifier("model", hashlib.sha256(model))
    items = {root: _item("model.mlmodel", "CoreML Model Specification", "model.mlmodel")}
    moved = None
    if weights is not None:
        moved = data / "weights" / "weight.bin"
        moved.parent.mkdir()
        weights.rename(moved)
        with moved.open("rb") as file:
            identifier = _identifier("weights", hashlib.file_digest(file, "sha256"))
        items[identifier] = _item("weights", "CoreML Model Weights", "weights")
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": dict(sorted(items.items())),
        "rootModelIdentifier": root,
    }
    (path / "Manifest.json").write_text(json.dumps(manifest, indent=4) + "\n", encoding="utf-8")
    return Package(path, spec, moved)


def write_parameters(package: Package, names: Mapping[str, str]) -> None:
    """Write ``X.parameters.json`` beside ``X.mlpackage``: by name of a constant, the PyTorch parameter that it holds.

    The constants' own names cannot say it: MIL allows no dots in them.
    """
    text = json.dumps(dict(sorted(names.items())), indent=1)
    package.path.with_suffix(_PARAMETERS).write_text(text + "\n", encoding="utf-8")


def read_parameters(package: Package) -> dict[str, str]:
    """What ``write_parameters`` wrote; empty where nothing lies beside the package."""
    path = package.path.with_suffix(_PARAMETERS)
    if not path.is_file():
        return {}
    names: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return names


def _item(name: str, description: str, path: str) -> dict[str, str]:
    return {
        "author": "com.apple.CoreML",
        "description": description,
        "name": name,
        "path": f"com.apple.CoreML/{path}",
    }


def _identifier(role: str, digest: Any) -> str:
    """A UUID that says what it identifies: the role keeps two equal files apart."""
    return str(uuid.UUID(bytes=hashlib.sha256(role.encode() + digest.digest()).digest()[:16], version=4)).upper()
