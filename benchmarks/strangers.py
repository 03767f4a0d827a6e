"""Packages that others published: how many compile, run, and equal what Apple's compiler made of them; and why not.

    python -m benchmarks.strangers FOLDER

Every ``X.mlpackage`` under FOLDER, and ``X.mlmodelc`` beside it where there is one. Where the weights are absent, or a
pointer of Git LFS stands in their place, zeros of the right sizes do: programs are compared and run all the same. Inputs are
random, of the shapes that a model describes. ``equal`` is told of ``model.mil``, ``coremldata.bin`` (up to the order of a map)
and ``metadata.json``; what old compilers of Apple's left out or in another order is allowed for, and said.
"""

import json
import re
import shutil
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.coreml.blob import BlobType, payload_size
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import read_package
from sdbuild.coreml.proto import MIL_pb2, Model_pb2
from sdbuild.coreml.runtime import load
from sdbuild.errors import UserError

POINTER = b"version https://git-lfs"
PARTICULARS = re.compile(r'operation \d+, |operation \d+ \(|"[^"]*"|\S*/\S*|\d+')
ADVICE = re.compile(r": not verified against Apple's.*|; on a Mac with.*", re.DOTALL)


@dataclass
class Result:
    """What became of one package; None: not tried, or nothing to compare with."""

    compiles: str | None = None
    runs: str | None = None
    equal: str | None = None
    notes: set[str] = field(default_factory=set)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m benchmarks.strangers FOLDER", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    folder = Path(arguments[0])
    results = {}
    for path in sorted(folder.rglob("*.mlpackage")):
        start = time.perf_counter()
        results[path] = result = examine(path)
        words = ", ".join(f"{what} {getattr(result, what)}" for what in ("compiles", "runs", "equal"))
        print(f"{path.relative_to(folder)}: {words} ({time.perf_counter() - start:.1f} s)", flush=True)
    print("\n" + summary(list(results.values())))
    return 0


def summary(results: list[Result]) -> str:
    twins = [result for result in results if result.equal is not None]
    lines = ["| | packages |", "|---|---|", f"| all | {len(results)} |"]
    for what in ("compiles", "runs"):
        lines.append(f"| {what} | {sum(getattr(result, what) == 'yes' for result in results)} |")
    lines.append(f"| equal, of {len(twins)} with a compiled twin | {sum(r.equal == 'yes' for r in twins)} |")
    for what, title in (("compiles", "does not compile"), ("runs", "does not run"), ("equal", "is not equal")):
        reasons = Counter(text for r in results if (text := getattr(r, what)) not in (None, "yes"))
        if reasons:
            lines += ["", f"| {title} | packages |", "|---|---|"]
            lines += [f"| {reason} | {count} |" for reason, count in reasons.most_common()]
    notes = Counter(note for result in results for note in result.notes)
    if notes:
        lines += ["", "| noted | packages |", "|---|---|", *(f"| {note} | {n} |" for note, n in notes.most_common())]
    return "\n".join(lines)


def examine(path: Path) -> Result:
    """Compile, run and compare one package; what fails is told by its reason, a traceback's last line included."""
    result = Result()
    twin = path.with_suffix(".mlmodelc")
    with tempfile.TemporaryDirectory() as folder:
        package, compiled = Path(folder) / path.name, Path(folder) / "compiled" / twin.name
        compiled.parent.mkdir()
        try:
            shutil.copytree(path, package)
            if stand_in(package):
                result.notes.add("zeros stand in for the weights")
            compile_package(package, compiled, build_info=apple_versions(twin))
            result.compiles = "yes"
        except Exception as error:
            result.compiles = reason(error)
        try:
            model = load(package)
            rng = np.random.default_rng(0)
            shapes = described_shapes(package)
            model.predict({name: sample(kind, shapes.get(name), rng) for name, kind in model.inputs.items()})
            result.runs = "yes"
        except Exception as error:
            result.runs = reason(error)
        if twin.is_dir() and result.compiles == "yes":
            different = sorted(differences(compiled, twin, result.notes))
            result.equal = "; ".join(different) or "yes"
    return result


def reason(error: Exception) -> str:
    """The kind of a failure: its message without names, places, numbers and advice."""
    text = ADVICE.sub("", str(error)).splitlines()[0] if str(error) else ""
    text = PARTICULARS.sub("…", text).replace("|", "/")
    text = re.sub(r"(?:…[\s,:]*)+", "… ", text).strip(" …:")[:120]
    return text if isinstance(error, UserError) else f"TRACEBACK {type(error).__name__}: {text}"


def stand_in(package: Path) -> bool:
    """Write a weight file of zeros where there is none, or a pointer to one; whether it did."""
    opened = read_package(package)
    file = opened.model_file.parent / "weights" / "weight.bin"
    if file.is_file() and file.read_bytes()[: len(POINTER)] != POINTER:
        return False
    blobs = {value.blobFileValue.offset: value.type.tensorType for value in stored(opened.spec)}
    if not blobs:
        return False
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as out:  # sparse: the zeros take no room
        out.write(struct.pack("<II56x", len(blobs), 2))
        end = 64
        for offset, tensor in sorted(blobs.items()):
            kind = BlobType[MIL_pb2.DataType.Name(tensor.dataType)]
            size = payload_size(kind, prod(int(each.constant.size) for each in tensor.dimensions))
            out.seek(offset)
            out.write(struct.pack("<IIQQQ32x", 0xDEADBEEF, kind, size, offset + 64, 0))
            end = offset + 64 + size
        out.truncate(end)
    return True


def stored(model: Any) -> Iterator[Any]:
    """All values in the weight file of a model, of those in it, and of nested blocks."""
    for inner in model.pipeline.models:
        yield from stored(inner)
    for function in model.mlProgram.functions.values():
        pending = list(function.block_specializations.values())
        while pending:
            for operation in pending.pop().operations:
                pending.extend(operation.blocks)
                bound = (b.value for argument in operation.inputs.values() for b in argument.arguments)
                yield from (v for v in (*operation.attributes.values(), *bound) if v.HasField("blobFileValue"))


def described_shapes(package: Path) -> dict[str, list[int]]:
    """A shape that each array among the inputs allows: its default, the first of several, or the least."""
    shapes = {}
    for feature in read_package(package).spec.description.input:
        array = feature.type.multiArrayType
        shapes[feature.name] = list(array.shape)
        if not array.shape and array.enumeratedShapes.shapes:
            shapes[feature.name] = list(array.enumeratedShapes.shapes[0].shape)
        elif not array.shape:
            shapes[feature.name] = [max(1, size.lowerBound) for size in array.shapeRange.sizeRanges]
    return shapes


def sample(kind: Any, shape: list[int] | None, rng: np.random.Generator) -> np.ndarray:
    """Random values for an input: small floats, or zeros and ones."""
    known = shape if shape and len(shape) == len(kind.shape) else kind.shape
    sizes = [1 if size is None else size for size in known]
    if kind.dtype.startswith("fp"):
        return rng.standard_normal(sizes).astype(np.float32)
    return rng.integers(0, 2, sizes).astype(kind.dtype)


def apple_versions(twin: Path) -> dict[str, str]:
    """The entries of ``buildInfo`` that are the compiler's own: of its version, not of the model."""
    texts = (twin / "model.mil", twin / "model0" / "model.mil")
    lines = [text.open(encoding="utf-8").read(100_000).splitlines()[1] for text in texts if text.is_file()]
    return dict(re.findall(r'\{"(coremlc-[^"]+)", "([^"]+)"\}', lines[0])) if lines else {}


def differences(ours: Path, theirs: Path, notes: set[str]) -> Iterator[str]:
    """The files that differ, or are in one of the two only; telemetry and weights are not looked at."""
    names = {file.relative_to(root) for root in (ours, theirs) for file in root.rglob("*") if file.is_file()}
    for name in sorted(names):
        if name.parent.name in ("analytics", "weights"):
            continue
        here, there = (root / name for root in (ours, theirs))
        if not (here.is_file() and there.is_file()):
            yield f"{name} is only {'ours' if here.is_file() else 'theirs'}"
        elif there.read_bytes()[: len(POINTER)] == POINTER:
            notes.add(f"{name.name} of the twin is a pointer of Git LFS: compared by its size")
            if f"size {here.stat().st_size}\n" not in there.read_text():
                yield f"{name} differs"
        elif name.name == "coremldata.bin":
            if not same_data(here.read_bytes(), there.read_bytes()):
                yield f"{name} differs"
        elif name.name == "metadata.json":
            if not same_metadata(*(json.loads(each.read_text("utf-8"))[0] for each in (here, there)), notes):
                yield f"{name} differs"
        elif here.read_bytes() != there.read_bytes().rstrip(b"\n"):
            yield f"{name} differs"


def same_data(ours: bytes, theirs: bytes) -> bool:
    """Whether two ``coremldata.bin`` are equal up to the order of a description's map."""
    if ours == theirs:
        return True
    try:
        parts = [split(data) for data in (ours, theirs)]
    except (ValueError, struct.error):
        return False
    (head, description, tail), (other_head, other, other_tail) = parts
    parsed = [Model_pb2.ModelDescription.FromString(text) for text in (description, other)]
    return head == other_head and tail == other_tail and parsed[0] == parsed[1] and len(description) == len(other)


def split(data: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before the description, it, and what comes after it."""
    at = 28
    for skipped in (24, 0):  # the name, the specification's version; the variant
        at += 8 + struct.unpack_from("<Q", data, at)[0] + skipped
    (size,) = struct.unpack_from("<Q", data, at)
    return data[: at + 8], data[at + 8 : at + 8 + size], data[at + 8 + size :]


def same_metadata(ours: dict[str, Any], theirs: dict[str, Any], notes: set[str]) -> bool:
    """Whether they are equal; what old compilers left out, or in another order, is noted."""
    if ours == theirs:
        return True
    ours = json.loads(json.dumps(ours))
    if "stateSchema" not in theirs and "visionOS" not in theirs["availability"]:
        notes.add("metadata.json of an old compiler: no states, no visionOS, precisions in any order")
        del ours["stateSchema"], ours["availability"]["visionOS"]
        for key in ("computePrecision", "storagePrecision"):
            if mixture(ours.get(key)) == mixture(theirs.get(key)):
                ours[key] = theirs.get(key)
    return ours == theirs


def mixture(precision: str | None) -> set[str]:
    """The members of ``Mixed (Float16, Palettized (6 bits))``, or the one that there is."""
    return set(re.sub(r"^Mixed \((.*)\)$", r"\1", precision or "").split(", "))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
