"""Packages: the same bytes for the same content, and a clear message for what is none."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdbuild.coreml.package import PackageError, read_package, read_parameters, write_package, write_parameters
from sdbuild.coreml.proto import Model_pb2
from sdbuild.digests import identity, written
from sdbuild.store import digest
from sdbuild.store.digest import hash_file, record_files

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


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


def test_the_digest_of_weights_is_remembered_until_they_are_written_to(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mlpackage") / WEIGHTS
    linked = tmp_path / "linked"
    os.link(file, linked)
    linked.chmod(0o444)
    assert written()[identity(linked.stat())] == hashlib.sha256(b"weights").hexdigest()
    linked.chmod(0o644)
    os.utime(linked, ns=(0, 0))
    assert identity(linked.stat()) not in written()


def test_a_stamp_takes_the_digest_of_what_the_process_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.mlpackage")
    expected = record_files(tmp_path)
    read: list[str] = []
    monkeypatch.setattr(digest, "hash_file", lambda path: read.append(path.name) or hash_file(path))
    assert record_files(tmp_path, written()) == expected
    assert sorted(read) == ["Manifest.json", "model.mlmodel"]


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


def lead(package: Path, place: str) -> None:
    """Have the manifest name another file as the model."""
    manifest = json.loads((package / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = place
    (package / "Manifest.json").write_text(json.dumps(manifest))


def _pipe(package: Path) -> None:
    (package / MODEL).unlink()
    os.mkfifo(package / MODEL)


def _link(place: str, target: str) -> Callable[[Path], None]:
    def link(package: Path) -> None:
        (package / place).rename(package.parent / "elsewhere")
        (package / place).symlink_to(target)

    return link


OUTSIDE: dict[str, tuple[Callable[[Path], object], str]] = {
    "up": (lambda p: lead(p, "../../b.mlmodel"), "'Data/../../b.mlmodel' leads out of the package"),
    "absolute": (lambda p: lead(p, str(p.parent / "b.mlmodel")), "cannot be read: No such file or directory"),
    "folder": (lambda p: lead(p, "com.apple.CoreML"), "'Data/com.apple.CoreML' is not a regular file"),
    "below a file": (lambda p: lead(p, "com.apple.CoreML/model.mlmodel/x"), "cannot be read: Not a directory"),
    "zero byte": (lambda p: lead(p, "a\0b"), "cannot be read: embedded null byte"),
    "long": (lambda p: lead(p, "a" * 300), "cannot be read: File name too long"),
    "half a letter": (lambda p: lead(p, "\ud800"), "cannot be read: 'utf-8' codec can't encode"),
    "no text": (lambda p: lead(p, 5), "Manifest.json is not that of an .mlpackage"),  # type: ignore[arg-type]
    "pipe": (_pipe, f"'{MODEL}' is not a regular file"),
    "link": (_link(MODEL, "../../../elsewhere"), f"'{MODEL}' leads out of the package"),
    "circle": (_link(MODEL, "model.mlmodel"), f"'{MODEL}' cannot be read: "),
    "device": (_link(MODEL, "/dev/null"), f"'{MODEL}' leads out of the package"),
    "weights": (_link(WEIGHTS, "../../../../elsewhere"), f"'{WEIGHTS}' leads out of the package"),
    "manifest": (_link("Manifest.json", "../elsewhere"), "'Manifest.json' leads out of the package"),
    "nested": (lambda p: (p / "Manifest.json").write_text("[" * 10_000), "Manifest.json is not that of an .mlpackage"),
    "large": (lambda p: (p / "Manifest.json").write_text(" " * (1 << 20) + "{}"), "larger than 1048576 bytes"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_only_regular_files_inside_a_package_are_opened(case: str, tmp_path: Path) -> None:
    package = write(tmp_path / "a.mlpackage")
    (tmp_path / "b.mlmodel").write_bytes((package / MODEL).read_bytes())
    change, message = OUTSIDE[case]
    change(package)
    with pytest.raises(PackageError) as caught:
        read_package(package)
    assert str(caught.value).startswith(f"{package}")
    assert message in str(caught.value)


def test_links_within_a_package_and_to_it_are_followed(tmp_path: Path) -> None:
    package = write(tmp_path / "a.mlpackage")
    (package / MODEL).rename(package / "Data/model")
    (package / MODEL).symlink_to("../model")
    (tmp_path / "b.mlpackage").symlink_to(package)
    assert read_package(tmp_path / "b.mlpackage").spec == spec()


def test_a_model_may_lie_elsewhere_and_its_weights_beside_it(tmp_path: Path) -> None:
    package = write(tmp_path / "a.mlpackage")
    (package / "Data/com.apple.CoreML").rename(package / "Data/com.example")
    (package / "Data/com.example/model.mlmodel").rename(package / "Data/com.example/other.mlmodel")
    lead(package, "com.example/other.mlmodel")
    manifest = (package / "Manifest.json").read_text()
    (package / "Manifest.json").write_text(manifest.replace("com.apple.CoreML/weights", "com.example/weights"))
    read = read_package(package)
    assert (read.spec, read.overlays) == (spec(), ())
    assert read.model_file == package / "Data/com.example/other.mlmodel"
    assert read.weights == package / "Data/com.example/weights/weight.bin"


def test_items_that_are_neither_model_nor_weights_are_overlays(tmp_path: Path) -> None:
    package = write(tmp_path / "a.mlpackage")
    manifest = json.loads((package / "Manifest.json").read_text())
    for name in ("Metadata.json", "FeatureDescriptions.json"):
        manifest["itemInfoEntries"][name] = {"path": f"com.apple.CoreML/{name}"}
    (package / "Manifest.json").write_text(json.dumps(manifest))
    overlays = ("com.apple.CoreML/FeatureDescriptions.json", "com.apple.CoreML/Metadata.json")
    assert read_package(package).overlays == overlays


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 5}', "[" * 10_000])
def test_names_of_parameters_that_are_damaged_are_refused(text: str, tmp_path: Path) -> None:
    package = read_package(write(tmp_path / "a.mlpackage"))
    write_parameters(package, {"weight": "conv.weight"})
    assert read_parameters(package) == {"weight": "conv.weight"}
    (tmp_path / "a.parameters.json").write_text(text)
    with pytest.raises(PackageError, match=r"a\.parameters\.json: damaged \("):
        read_parameters(package)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mlpackage")
    model = path / MODEL
    model.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(PackageError, match=r"model\.mlmodel: it is a pointer of Git LFS, .* run `git lfs pull`"):
        read_package(path)
    model.write_bytes(spec().SerializeToString())
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
