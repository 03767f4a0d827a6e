"""What our own small models compile to, kept in ``golden/``; and that the printed program says what the model says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdbuild.coreml.compiler import compile_package
from tests.coreml.compiler.mil_parser import Parser, bare
from tests.coreml.compiler.models import BUILD_INFO, GOLDEN, MODELS, linear


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_model_has_a_golden_folder_and_none_is_left_over() -> None:
    assert {path.name.removesuffix(".mlmodelc") for path in GOLDEN.iterdir()} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_compiles_to_its_golden_files(name: str, tmp_path: Path) -> None:
    package = MODELS[name].package(tmp_path / f"{name}.mlpackage")
    compile_package(package, tmp_path / "out", build_info=BUILD_INFO)
    made = tree(tmp_path / "out")
    weights = package / "Data/com.apple.CoreML/weights/weight.bin"
    assert made.pop("weights/weight.bin", None) == (weights.read_bytes() if weights.exists() else None)
    assert made == tree(GOLDEN / f"{name}.mlmodelc")


@pytest.mark.parametrize("name", MODELS)
def test_the_text_says_what_the_program_says(name: str) -> None:
    read = Parser((GOLDEN / f"{name}.mlmodelc/model.mil").read_text()).program()
    assert bare(read) == bare(MODELS[name].spec.mlProgram)


def test_by_default_the_compiler_names_itself_and_nobody_else(tmp_path: Path) -> None:
    compile_package(linear().package(tmp_path / "a.mlpackage"), tmp_path / "out")
    line = (tmp_path / "out/model.mil").read_text().splitlines()[1]
    assert "sdbuild-portable-compiler" in line
    assert "coremlc" not in line


def test_the_same_package_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    package = MODELS["1-described-v1.0"].package(tmp_path / "a.mlpackage")
    trees = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        command = [sys.executable, "-m", "sdbuild.coreml.compiler", str(package), str(out)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
        trees.append(tree(out))
    assert trees[0] == trees[1]
    assert list(json.loads(trees[0]["metadata.json"])[0]["userDefinedMetadata"]) == ["a/b", "b"]
