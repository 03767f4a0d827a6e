"""On a Mac with Xcode: our compiler against Apple's, our runtime against Core ML's, on what ``doit build`` made.

Run ``doit build`` first, then ``pytest -m mac tests/mac``.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import read_package
from sdbuild.coreml.proto import FeatureTypes_pb2
from sdbuild.coreml.runtime import load

PACKAGES = Path(__file__).resolve().parents[2] / "build/shapes/packages"
COMPONENTS = ["TextEncoder", "Unet", "VAEDecoder"]

pytestmark = [
    pytest.mark.mac,
    pytest.mark.skipif(sys.platform != "darwin" or shutil.which("xcrun") is None, reason="needs macOS with Xcode"),
    pytest.mark.skipif(not PACKAGES.is_dir(), reason="run `doit build` first"),
]


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_portable_compiler_agrees_with_xcodes(component: str, tmp_path: Path) -> None:
    package = PACKAGES / f"{component}.mlpackage"
    subprocess.run(["xcrun", "coremlcompiler", "compile", package, tmp_path], check=True)
    theirs = tmp_path / f"{component}.mlmodelc"
    build_info = _apple_versions((theirs / "model.mil").read_text())
    ours = tmp_path / "ours.mlmodelc"
    compile_package(package, ours, build_info=build_info)
    for file in ("weights/weight.bin", "analytics/coremldata.bin"):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes()
    assert _body((ours / "model.mil").read_text()) == _body((theirs / "model.mil").read_text())
    assert json.loads((ours / "metadata.json").read_text()) == json.loads((theirs / "metadata.json").read_text())


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_runtime_agrees_with_core_ml(component: str) -> None:
    ct = pytest.importorskip("coremltools")
    path = PACKAGES / f"{component}.mlpackage"
    rng = np.random.default_rng(0)
    feed = {}
    for feature in read_package(path).spec.description.input:
        array = feature.type.multiArrayType
        half = array.dataType == FeatureTypes_pb2.ArrayFeatureType.FLOAT16
        shape = tuple(array.shape)
        values = rng.integers(0, 100, shape) if feature.name == "input_ids" else rng.standard_normal(shape)
        feed[feature.name] = values.astype(np.float16 if half else np.float32)
    theirs = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.CPU_ONLY).predict(feed)
    for name, ours in load(path).predict(feed).items():
        noise = np.sqrt(np.mean((theirs[name] - ours) ** 2))
        assert 20 * np.log10(np.abs(ours).max() / noise) > 40


def _apple_versions(text: str) -> dict[str, str]:
    """``coremlc-version`` and ``coremlc-component-MIL`` as the file states them."""
    found = {}
    for key in ("coremlc-version", "coremlc-component-MIL"):
        found[key] = text.split(f'{{"{key}", "', 1)[1].split('"', 1)[0]
    return found


def _body(text: str) -> str:
    """The program without its first lines, where each compiler states its own name."""
    return text.split("func main", 1)[1]
