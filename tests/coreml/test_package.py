"""Packages: the same bytes for the same content, and a clear message for what is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sdbuild.coreml.package import PackageError, read_package, write_package
from sdbuild.coreml.proto import Model_pb2


def spec() -> Model_pb2.Model:
    model = Model_pb2.Model(specificationVersion=7)
    for key in ("b", "a", "c"):
        model.description.metadata.userDefined[key] = key
    return model


def write(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(exist_ok=True)
    weights = path.with_suffix(".bin")
    weights.write_bytes(content)
    return write_package(path, spec(), weights).path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    package = read_package(write(tmp_path / "a.mlpackage"))
    assert package.spec == spec()
    assert package.weights is not None
    assert package.weights.read_bytes() == b"weights"
    assert not (tmp_path / "a.bin").exists()


def test_bytes_depend_on_content_alone(tmp_path: Path) -> None:
    first, second = write(tmp_path / "x/a.mlpackage"), write(tmp_path / "y/b.mlpackage")
    other = write(tmp_path / "z/c.mlpackage", b"other weights")
    manifest, model = "Manifest.json", "Data/com.apple.CoreML/model.mlmodel"
    assert (first / manifest).read_bytes() == (second / manifest).read_bytes()
    assert (first / model).read_bytes() == (second / model).read_bytes()
    assert (first / manifest).read_bytes() != (other / manifest).read_bytes()


def test_coremltools_reads_the_manifest(tmp_path: Path) -> None:
    ct = pytest.importorskip("coremltools")
    path = write(tmp_path / "a.mlpackage")
    assert ct.utils.load_spec(str(path)).specificationVersion == 7


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: None, r"not an \.mlpackage folder \(no such path\)"),
        (lambda p: p.write_text("x"), r"not an \.mlpackage folder$"),
        (lambda p: p.mkdir(), "Manifest.json is missing"),
        (lambda p: (p.mkdir(), (p / "Manifest.json").write_text("{")), "Manifest.json is not that of"),
        (lambda p: (p.mkdir(), (p / "Manifest.json").write_text("[]")), "Manifest.json is not that of"),
        (lambda p: (p.mkdir(), (p / "Manifest.json").write_text('{"rootModelIdentifier": "x"}')), "is not that of"),
    ],
    ids=["absent", "file", "empty", "truncated manifest", "list manifest", "no items"],
)
def test_what_is_no_package_is_refused(damage: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mlpackage"
    damage(path)  # type: ignore[operator]
    with pytest.raises(PackageError, match=message):
        read_package(path)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mlpackage")
    model = path / "Data/com.apple.CoreML/model.mlmodel"
    model.write_bytes(model.read_bytes()[:-3])
    with pytest.raises(PackageError, match="damaged"):
        read_package(path)
    model.unlink()
    with pytest.raises(PackageError, match="cannot be read: No such file"):
        read_package(path)
    assert json.loads((path / "Manifest.json").read_text())["fileFormatVersion"] == "1.0.0"


def test_too_little_memory_is_not_taken_for_damage(tmp_path: Path) -> None:
    large = spec()
    for number in range(200_000):
        large.description.metadata.userDefined[str(number)] = "x" * 50
    package = write_package(tmp_path / "large.mlpackage", large, None)
    program = f"""
import resource
from pathlib import Path
from sdbuild.coreml.package import read_package

(used,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmData")]
most = int(used) * 1024 + (24 << 20)  # enough for the file, not for what is in it
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
try:
    read_package(Path({str(package.path)!r}))
except MemoryError as error:
    print("too little:", error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout.startswith("too little: Error parsing message"), ended.stderr
