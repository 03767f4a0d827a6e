"""Open a compiled model, ``X.mlmodelc``, and see that its parts are whole and agree with each other.

``coremldata.bin`` holds the ``ModelDescription`` that Core ML itself goes by, ``metadata.json`` repeats it for apps and
Xcode, ``model.mil`` is the program with its own types, and names places in ``weights/weight.bin``.
"""

import io
import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from sdbuild.bundle.violation import Violation
from sdbuild.coreml.blob import BlobError, BlobReader
from sdbuild.coreml.proto import Model_pb2
from sdbuild.errors import one_line
from sdbuild.standins import stand_in_at

_T = TypeVar("_T")

_ML_PROGRAM = 502
_NOT_LOADED = "Core ML will not load the model"
_MISLED = "apps that read it, as Mochi Diffusion does, are misled"

_PARAMETER = re.compile(r"(?:tensor<(\w+), \[([^\]]*)\]>|(\w+)) (\w+)(?:, |$)")
_BLOB = re.compile(r'BLOBFILE\(path = [^"]*"@model_path/([^"]+)"\), offset = (?:tensor<uint64, \[\]>|uint64)\((\d+)\)')
_TYPES = {"fp16": "Float16", "fp32": "Float32", "fp64": "Double", "int32": "Int32"}


@dataclass(frozen=True)
class Feature:
    """An input or output: its element type in the words of ``metadata.json``, and its default shape.

    The shape is None for an output that neither the description nor the program tells the shape of.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None

    def __str__(self) -> str:
        """``Float32 [1, 77]``."""
        return f"{self.dtype} {list(self.shape or ())}"


@dataclass(frozen=True)
class Compiled:
    """A compiled model's boundary, and the types it computes with ("Mixed (Float16, Float32)"; empty: not known)."""

    inputs: Mapping[str, Feature]
    outputs: Mapping[str, Feature]
    precision: str


@dataclass
class _Program:
    """What matters here of ``model.mil``: a dimension of unknown size is -1."""

    inputs: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    blobs: dict[str, list[int]] = field(default_factory=dict)


def read_compiled(path: Path, name: str) -> tuple[Compiled | None, list[Violation]]:
    """The model in the folder ``path``, called ``name`` in messages, and all that is wrong with it in itself.

    There is no model where its description cannot be read.
    """
    if wrong := stand_in_at(path):
        return None, [Violation(name, wrong.what, _NOT_LOADED, wrong.remedy)]
    if not path.is_dir():
        return None, [Violation(name, "not a folder", _NOT_LOADED, "put the compiled model itself there")]
    violations: list[Violation] = []

    def report(file: str, what: str, remedy: str = "compile the package again") -> None:
        why = _MISLED if file == "metadata.json" else _NOT_LOADED
        violations.append(Violation(f"{name}/{file}", one_line(what), why, remedy))

    def is_itself(file: str) -> bool:
        wrong = stand_in_at(path / file)
        if wrong is not None:
            report(file, wrong.what, wrong.remedy)
        return wrong is None

    def read(file: str, parse: Callable[[Path], _T]) -> _T | None:
        if not is_itself(file):
            return None
        try:
            if (path / file).exists() and not ((path / file).is_file() or (path / file).is_dir()):
                raise ValueError("a pipe or a device")
            return parse(path / file)
        except FileNotFoundError:
            report(file, "missing")
        except OSError as error:
            report(file, f"cannot be read ({error.strerror})")
        except (ValueError, struct.error, OverflowError, DecodeError, RecursionError) as error:
            report(file, f"damaged ({error})")
        return None

    ports = read("coremldata.bin", _ports)
    metadata = read("metadata.json", _metadata)
    program = read("model.mil", _program)
    if program is not None:
        for file, offsets in sorted(program.blobs.items()):
            if is_itself(file) and (what := _weights_problem(path / file, offsets)):
                report(file, what)
    if ports is None:
        return None, violations
    for what in _program_differences(program, *ports) if program is not None else ():
        report("model.mil", what)
    for what in _metadata_differences(metadata, *ports) if metadata is not None else ():
        report("metadata.json", what)
    inputs, outputs = ports
    if not all(feature.shape for feature in outputs.values()):
        outputs = _with_shapes(outputs, path / "model.mil" if program is not None else None)
    return Compiled(inputs, outputs, str((metadata or {}).get("computePrecision", ""))), violations


def _ports(path: Path) -> tuple[dict[str, Feature], dict[str, Feature]]:
    description = _description(path.read_bytes())
    return _features(description.input), _features(description.output)


def _description(data: bytes) -> Any:
    stream = io.BytesIO(data)
    (kind,) = struct.unpack("<I", stream.read(4))
    if kind != _ML_PROGRAM:
        raise ValueError(f"the model type is {kind}, an ML Program is {_ML_PROGRAM}")
    stream.read(24)  # the compiler's version
    _string(stream)  # "generic"
    stream.read(24)  # the specification's version
    _string(stream)  # a variant's name
    description = Model_pb2.ModelDescription()
    description.ParseFromString(_string(stream))
    return description


def _string(stream: io.BytesIO) -> bytes:
    (length,) = struct.unpack("<Q", stream.read(8))
    text = stream.read(length)
    if len(text) != length:
        raise ValueError(f"{length} bytes announced, {len(text)} left")
    return text


def _features(described: Any) -> dict[str, Feature]:
    features = {}
    for feature in described:
        kind = feature.type.WhichOneof("Type")
        array = feature.type.multiArrayType
        dtype = array.ArrayDataType.Name(array.dataType).capitalize() if kind == "multiArrayType" else str(kind)
        features[feature.name] = Feature(feature.name, dtype, tuple(array.shape))
    return features


def _metadata(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        raise ValueError("it must be a list of one mapping")
    for key in ("inputSchema", "outputSchema"):
        schema = content[0].get(key)
        if not isinstance(schema, list) or not all(isinstance(feature, dict) for feature in schema):
            raise ValueError(f"{key} must be a list of mappings")
    return content[0]


def _metadata_differences(
    metadata: dict[str, Any], inputs: Mapping[str, Feature], outputs: Mapping[str, Feature]
) -> list[str]:
    differences = []
    for role, key, features in (("input", "inputSchema", inputs), ("output", "outputSchema", outputs)):
        listed = {str(entry.get("name")): f"{entry.get('dataType')} {entry.get('shape')}" for entry in metadata[key]}
        described = {name: str(feature) for name, feature in features.items()}
        differences += _differences(role, listed, described)
    return differences


def _program(path: Path) -> _Program:
    program, found, line = _Program(), False, ""
    with path.open(encoding="utf-8") as file:
        if not file.readline().startswith("program("):
            raise ValueError("not the text of a program")
        for line in file:
            text = line.strip()
            if text.startswith("func main<"):
                found = True
                parameters = text[text.index("(") + 1 : text.index(")")]
                program.inputs = {m[4]: _parameter(m) for m in _PARAMETER.finditer(parameters)}
            elif text.startswith("} -> ("):
                program.outputs = text.removeprefix("} -> (").removesuffix(");").split(", ")
            elif "BLOBFILE" in text:
                for match in _BLOB.finditer(text):
                    program.blobs.setdefault(match[1], []).append(int(match[2]))
    if not found or not program.outputs or line.strip() != "}":
        raise ValueError("the program is cut short" if found else "the program has no function main")
    return program


def _with_shapes(outputs: Mapping[str, Feature], program: Path | None) -> dict[str, Feature]:
    """The outputs with the shapes that the program, if it can be read, gives them where the description has none.

    coremltools 6 described no output's shape, and Apple's own published models are so.
    """
    found: dict[str, tuple[int, ...] | None] = dict.fromkeys(outputs)
    with program.open(encoding="utf-8") if program else io.StringIO() as file:
        for line in file:
            values, equals, _ = line.strip().partition(" = ")
            for match in _PARAMETER.finditer(values) if equals and not values.startswith("func ") else ():
                if match[4] in found:
                    sizes = [size for size in (match[2] or "").split(", ") if size]
                    found[match[4]] = tuple(map(int, sizes)) if all(map(str.isdecimal, sizes)) else None
    return {
        name: feature if feature.shape else replace(feature, shape=found[name]) for name, feature in outputs.items()
    }


def _parameter(match: re.Match[str]) -> tuple[str, tuple[int, ...]]:
    sizes = tuple(-1 if size == "?" else int(size) for size in (match[2] or "").split(", ") if size)
    return match[1] or match[3], sizes


def _program_differences(program: _Program, inputs: Mapping[str, Feature], outputs: Mapping[str, Feature]) -> list[str]:
    taken = {}
    for name, (kind, sizes) in program.inputs.items():
        shape = sizes
        own_shape = (inputs[name].shape or ()) if name in inputs else ()
        if len(sizes) == len(own_shape):  # a flexible size agrees with its default
            shape = tuple(own if size < 0 else size for size, own in zip(sizes, own_shape, strict=True))
        taken[name] = str(Feature(name, _TYPES.get(kind, kind), shape))
    differences = _differences("input", taken, {name: str(feature) for name, feature in inputs.items()})
    return differences + _differences("output", dict.fromkeys(program.outputs, ""), dict.fromkeys(outputs, ""))


def _differences(role: str, here: Mapping[str, str], described: Mapping[str, str]) -> list[str]:
    if here.keys() != described.keys():
        mine, theirs = (", ".join(sorted(names)) or "none" for names in (here, described))
        return [f"has as {role}s {mine}, coremldata.bin has {theirs}"]
    return [
        f"has the {role} {name} as {here[name]}, coremldata.bin as {described[name]}"
        for name in here
        if here[name] != described[name]
    ]


def _weights_problem(path: Path, offsets: list[int]) -> str | None:
    """The first thing wrong with a weight file; only the records of its blobs are read."""
    if not path.is_file():
        return f"missing, though model.mil takes {len(offsets)} weights from it"
    try:
        reader = BlobReader(path)
        for offset in offsets:
            reader.read(offset)
    except BlobError as error:
        return str(error).removeprefix(f"{path}: ")
    return None
