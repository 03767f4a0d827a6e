"""What ``metadata.json`` and the head of ``model.mil`` say where a package says less than usual."""

import json
from pathlib import Path
from typing import Any

import pytest

from sdbuild.coreml.compiler import compile_package
from tests.coreml.compiler.models import Builder, linear, tensor_type

APPLE = {"coremlc-version": "1", "coremlc-component-MIL": "2"}


def compiled(model: Builder, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The metadata, and the first lines of the program."""
    compile_package(model.package(folder / "a.mlpackage"), folder / "out", build_info=APPLE)
    (metadata,) = json.loads((folder / "out/metadata.json").read_text())
    return metadata, (folder / "out/model.mil").read_text().splitlines()


@pytest.mark.parametrize("absent", ["version", "author", "license"])
def test_what_a_package_does_not_say_of_itself_is_left_out_alone(absent: str, tmp_path: Path) -> None:
    model = linear()
    texts = {"version": "versionString", "author": "author", "license": "license"}
    for key in texts.keys() - {absent}:
        setattr(model.spec.description.metadata, texts[key], f"the {key}")
    metadata, _ = compiled(model, tmp_path)
    assert {key: metadata[key] for key in texts if key in metadata} == {
        key: f"the {key}" for key in texts if key != absent
    }
    assert "shortDescription" not in metadata


def test_a_program_without_build_info_gets_the_compilers_alone(tmp_path: Path) -> None:
    _, lines = compiled(linear("CoreML6"), tmp_path)
    text = "tensor<string, []>"
    entries = '{{"coremlc-component-MIL", "2"}, {"coremlc-version", "1"}}'
    assert lines[1] == f"[buildInfo = dict<{text}, {text}>({entries})]"


def test_an_output_of_unknown_shape_has_none(tmp_path: Path) -> None:
    model = Builder("CoreML6")
    model.input("x", "FLOAT32", [1, 4], [(1, 1), (1, 9)])
    model.op("relu", "y", [tensor_type("FLOAT32", [None, None])], {"x": "x"})
    model.output("y", "FLOAT32", [])
    metadata, _ = compiled(model, tmp_path)
    (schema,) = metadata["outputSchema"]
    assert (schema["shape"], schema["formattedType"]) == ("[]", "MultiArray (Float32)")


def test_only_inputs_of_ranged_shape_are_named_as_flexible(tmp_path: Path) -> None:
    model = Builder("CoreML6")
    model.input("fixed", "FLOAT32", [1])
    model.input("x", "FLOAT32", [1, 4], [(1, 1), (1, 9)])
    model.op("mul", "y", [tensor_type("FLOAT32", [1, None])], {"x": "x", "y": "fixed"})
    model.output("y", "FLOAT32", [1, 4], [(1, 1), (1, 9)])
    _, lines = compiled(model, tmp_path)
    assert '("DefaultShapes", {{"x", [1, 4]}}), ("RangeDims", {{"x", [[1, 1], [1, 9]]}})' in lines[3]
    assert '"fixed"' not in lines[3]
