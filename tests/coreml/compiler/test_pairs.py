"""The compiler against Apple's own output: whole pairs, and compiled models whose packages are rebuilt from them."""

import json
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import write_package
from sdbuild.coreml.proto import Model_pb2
from tests.coreml.compiler.mil_parser import Parser

SHARED = Path(__file__).resolve().parents[4] / "shared/coreml/pairs"
PAIRS = Path(os.environ.get("SDBUILD_PAIRS", SHARED))
PACKAGES = sorted(PAIRS.rglob("*.mlpackage"))
COMPILED = [
    path
    for path in sorted(PAIRS.rglob("*.mlmodelc"))
    if not path.with_suffix(".mlpackage").is_dir() and not (path / "weights").is_dir()
]

_DESCRIPTION_AT = 0x4B


def apple_versions(compiled: Path) -> dict[str, str]:
    head = (compiled / "model.mil").read_text().splitlines()[1]
    return dict(re.findall(r'\{"(coremlc-[^"]+)", "([^"]+)"\}', head))


def description(compiled: Path) -> Model_pb2.ModelDescription:
    data = (compiled / "coremldata.bin").read_bytes()
    (length,) = struct.unpack_from("<Q", data, _DESCRIPTION_AT)
    start = _DESCRIPTION_AT + 8
    return Model_pb2.ModelDescription.FromString(data[start : start + length])


def metadata(compiled: Path) -> dict[str, Any]:
    (model,) = json.loads((compiled / "metadata.json").read_text())
    assert isinstance(model, dict)
    return model


def assert_same_model(ours: Path, theirs: Path) -> None:
    # One of the compiled models went through a tool that ends text files with a line end.
    assert (ours / "model.mil").read_text() == (theirs / "model.mil").read_text().rstrip("\n")
    assert metadata(ours) == metadata(theirs)
    ours_data, theirs_data = ((path / "coremldata.bin").read_bytes() for path in (ours, theirs))
    assert description(ours) == description(theirs)
    assert len(ours_data) == len(theirs_data)
    end = len(ours_data) - 16
    assert ours_data[: _DESCRIPTION_AT + 8] == theirs_data[: _DESCRIPTION_AT + 8]
    assert ours_data[end:] == theirs_data[end:]


@pytest.mark.skipif(not PACKAGES, reason=f"no pairs of real packages and Apple's output under {PAIRS}")
@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.stem)
def test_a_real_pair_is_reproduced(package: Path, tmp_path: Path) -> None:
    theirs = package.with_name(package.name.removesuffix(".mlpackage") + ".mlmodelc")
    ours = tmp_path / theirs.name
    compile_package(package, ours, build_info=apple_versions(theirs))
    assert_same_model(ours, theirs)
    for file in ("model.mil", "weights/weight.bin", "analytics/coremldata.bin"):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes()
    files = {path.relative_to(theirs) for path in theirs.rglob("*")}
    assert {path.relative_to(ours) for path in ours.rglob("*")} == files
    # Down to the order of the fields, which no reader of JSON sees.
    assert list(metadata(ours)) == list(metadata(theirs))


@pytest.mark.skipif(not COMPILED, reason=f"no compiled models of Apple's under {PAIRS}")
@pytest.mark.parametrize("theirs", COMPILED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_compiled_model_is_reproduced_from_what_it_says(theirs: Path, tmp_path: Path) -> None:
    spec = Model_pb2.Model(description=description(theirs))
    spec.specificationVersion = metadata(theirs)["specificationVersion"]
    spec.mlProgram.CopyFrom(Parser((theirs / "model.mil").read_text()).program())
    spec.mlProgram.functions["main"].attributes.clear()  # flexible shapes: the compiler's own addition
    package = write_package(tmp_path / f"{metadata(theirs)['generatedClassName']}.mlpackage", spec, None).path
    ours = tmp_path / theirs.name
    compile_package(package, ours, build_info=apple_versions(theirs))
    assert_same_model(ours, theirs)
