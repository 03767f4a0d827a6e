"""The benchmark over packages of others: what it counts, and how it names what fails."""

import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.strangers import main
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.runtime import load
from tests.coreml.compiler.models import Builder, linear, tensor_type

WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def test_packages_are_counted_by_what_becomes_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    twin = linear().package(tmp_path / "a/twin.mlpackage")
    compile_package(twin, tmp_path / "a/twin.mlmodelc", build_info={"coremlc-version": "1"})
    pointer = linear().package(tmp_path / "a/pointer.mlpackage")
    (pointer / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\nsize 1\n")
    other = shutil.copytree(twin, tmp_path / "b/other.mlpackage")
    shutil.copytree(tmp_path / "a/twin.mlmodelc", other.with_suffix(".mlmodelc"))  # of another class
    shutil.copytree(pointer, tmp_path / "b/absent.mlpackage")
    (tmp_path / "b/absent.mlpackage" / WEIGHTS).unlink()
    strange = Builder("CoreML7")
    strange.input("x", "FLOAT16", [1])
    strange.op("custom_layer", "y", [tensor_type("FLOAT16", [1])], {"x": "x"})
    strange.output("y", "FLOAT16", [1])
    strange.package(tmp_path / "strange.mlpackage")
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "| all | 5 |",
        "| compiles | 4 |",
        "| runs | 4 |",
        "| equal, of 2 with a compiled twin | 1 |",
        "| metadata.json differs | 1 |",
        "| zeros stand in for the weights | 2 |",
    ):
        assert line in lines
    assert sum("the operation custom_layer" in line for line in lines if line.startswith("|")) == 1
    assert not any("TRACEBACK" in line for line in lines)
    assert not (tmp_path / "b/absent.mlpackage" / WEIGHTS).exists(), "what is looked at is not changed"


def test_a_folder_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([os.devnull]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_model_runs_without_what_is_laid_over_it_and_says_so(tmp_path: Path) -> None:
    package = linear().package(tmp_path / "a.mlpackage")
    manifest = json.loads((package / "Manifest.json").read_text())
    manifest["itemInfoEntries"]["1"] = {"path": "com.apple.CoreML/Metadata.json"}
    (package / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match="items of its manifest that are not known: com.apple.CoreML/Metadata.json"):
        load(package)
