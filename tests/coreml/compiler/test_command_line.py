"""Files in, files out: what can be wrong with them, and the command line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbuild.coreml.compiler import CompileError, UnverifiedError, compile_package
from sdbuild.coreml.compiler.__main__ import main
from sdbuild.errors import UserError
from tests.coreml.compiler.models import linear

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return linear().package(tmp_path / "a.mlpackage")


def test_the_command_line_compiles(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mlmodelc"
    command = [sys.executable, "-m", "sdbuild.coreml.compiler", package, out]
    options = ["--build-info", "coremlc-version=3500.32.1", "--build-info", "note=a=b"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    line = (out / "model.mil").read_text().splitlines()[1]
    assert line.endswith('({{"coremlc-version", "3500.32.1"}, {"note", "a=b"}})]')
    assert (out / "weights/weight.bin").read_bytes() == (package / WEIGHTS).read_bytes()


def test_the_compiler_imports_nothing_heavy(package: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from sdbuild.coreml.compiler.__main__ import main; assert main(sys.argv[1:]) == 0; "
        "print(*sorted({'torch', 'coremltools', 'diffusers', 'transformers', 'pydantic', 'yaml'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, package, tmp_path / "out"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.rename(p.with_name("b")), "{package}: not an .mlpackage folder (no such path)"),
        (lambda p: (p / "Manifest.json").unlink(), "{package}: not an .mlpackage: Manifest.json is missing"),
        (lambda p: (p / MODEL).unlink(), "{package}/{MODEL}: cannot be read: No such file or directory"),
        (lambda p: cut(p / MODEL, 100), "{package}/{MODEL}: damaged: not a Core ML model, or cut short"),
        (
            lambda p: (p / WEIGHTS).unlink(),
            '{package}: operation 0, const "w": needs weights/weight.bin, which the package lacks',
        ),
        (lambda p: cut(p / MODEL, 0), "{package}/{MODEL}: it is empty, left by an interrupted download or copy"),
        (lambda p: cut(p / WEIGHTS, 0), "{package}/{WEIGHTS}: it is empty, left by an interrupted download or copy"),
        (lambda p: cut(p / WEIGHTS, 10), "{package}/{WEIGHTS}: not a MIL blob storage file of version 2"),
        (lambda p: cut(p / WEIGHTS, 64), "offset 64 is outside the file (64 bytes): truncated or mismatched"),
        (lambda p: cut(p / WEIGHTS, 140), "the weight at offset 64 ends at 152, the file at 140"),
        (lambda p: (p / WEIGHTS).write_bytes(bytes(4) + b"\x02" + bytes(200)), "no weight record at offset 64"),
    ],
)
def test_a_damaged_package_is_one_clear_line(
    damage: Callable[[Path], object], message: str, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(package)
    before = set(tmp_path.rglob("*"))
    assert main([str(package), str(tmp_path / "a.mlmodelc")]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {package}")
    assert output.err.count("\n") == 1
    assert message.format(package=package, MODEL=MODEL, WEIGHTS=WEIGHTS) in output.err
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("argument", ["coremlc-version", "=1"])
def test_a_build_info_is_a_key_and_a_value(
    argument: str, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(package), str(tmp_path / "out"), "--build-info", argument]) == 3
    assert capsys.readouterr().err == f"error: --build-info {argument}: expected KEY=VALUE\n"


def edited(package: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    change(manifest["itemInfoEntries"])
    (package / "Manifest.json").write_text(json.dumps(manifest))


def test_what_xcode_lays_over_a_package_is_refused_by_name(package: Path, tmp_path: Path) -> None:
    edited(package, lambda items: items.update({"1": {"path": "com.apple.CoreML/Metadata.json"}}))
    message = "items of the manifest beside the model and its weights: com.apple.CoreML/Metadata.json"
    with pytest.raises(UnverifiedError, match=message):
        compile_package(package, tmp_path / "out")


def test_a_model_elsewhere_compiles_to_the_same(package: Path, tmp_path: Path) -> None:
    compile_package(package, tmp_path / "usual")
    (package / "Data/com.apple.CoreML").rename(package / "Data/com.example.Test")
    text = (package / "Manifest.json").read_text()
    (package / "Manifest.json").write_text(text.replace("com.apple.CoreML/", "com.example.Test/"))
    compile_package(package, tmp_path / "elsewhere")
    for file in ("model.mil", "metadata.json", "coremldata.bin", "analytics/coremldata.bin", "weights/weight.bin"):
        assert (tmp_path / "elsewhere" / file).read_bytes() == (tmp_path / "usual" / file).read_bytes()


def test_nothing_is_overwritten(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(CompileError, match=r"out: exists already; remove it, or name another$"):
        compile_package(package, out)
    out.rmdir()
    out.symlink_to("nowhere")
    with pytest.raises(CompileError, match="exists already"):
        compile_package(package, out)


def test_an_output_that_cannot_be_written_is_named(package: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"b/out: cannot be made: No such file or directory: .*/b/\.out\."):
        compile_package(package, tmp_path / "b/out")


def test_a_full_disk_leaves_nothing_behind(package: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)); "
        "from sdbuild.coreml.compiler.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-B", "-c", script, package, out], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {out}: cannot be made: File too large\n"
    assert set(tmp_path.rglob("*")) == before


def test_weights_are_copied_or_linked(package: Path, tmp_path: Path) -> None:
    source = package / WEIGHTS
    copied, linked = tmp_path / "copied/weights/weight.bin", tmp_path / "linked/weights/weight.bin"
    compile_package(package, tmp_path / "copied")
    compile_package(package, tmp_path / "linked", weights="link")
    assert not copied.samefile(source)
    assert linked.samefile(source)
    assert copied.read_bytes() == source.read_bytes()


def test_the_folder_can_be_read_as_any_other(package: Path, tmp_path: Path) -> None:
    compile_package(package, tmp_path / "out")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode
