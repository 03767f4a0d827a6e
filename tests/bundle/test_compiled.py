"""A compiled model whose parts are damaged, missing or at odds gives one line; Apple's own files give none."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sdbuild.bundle.compiled import read_compiled
from tests.bundle.models import Workshop, diffusion

PAIRS = Path(os.environ.get("SDBUILD_PAIRS", Path(__file__).parents[3] / "shared" / "coreml" / "pairs"))

NAME = "Unet.mlmodelc"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "workshop").mkdir()
    Workshop(tmp_path / "workshop").folder(tmp_path / "Resources", {"Unet": diffusion()["Unet"]})
    return tmp_path / "Resources" / NAME


def test_the_boundary_is_read(model: Path) -> None:
    compiled, violations = read_compiled(model, NAME)
    assert violations == []
    assert compiled is not None
    assert {name: str(feature) for name, feature in compiled.inputs.items()} == {
        "sample": "Float16 [2, 4, 8, 16]",
        "timestep": "Float16 [2]",
        "encoder_hidden_states": "Float16 [2, 6, 1, 77]",
    }
    assert {name: str(feature) for name, feature in compiled.outputs.items()} == {"noise_pred": "Float32 [2, 4, 8, 16]"}
    assert compiled.precision == "Mixed (Float16, Float32)"


def _replace(file: str, old: str, new: str) -> Callable[[Path], object]:
    def replace(model: Path) -> None:
        text = (model / file).read_text()
        assert old in text
        (model / file).write_text(text.replace(old, new))

    return replace


def _cut(file: str, size: int) -> Callable[[Path], object]:
    return lambda model: (model / file).write_bytes((model / file).read_bytes()[:size])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no-description": (lambda m: (m / "coremldata.bin").unlink(), "coremldata.bin: missing"),
    "short-description": (_cut("coremldata.bin", 100), "coremldata.bin: damaged (117 bytes announced, 17 left)"),
    "shorter-description": (
        _cut("coremldata.bin", 30),
        "coremldata.bin: damaged (unpack requires a buffer of 8 bytes)",
    ),
    "a-neural-network": (
        lambda m: (m / "coremldata.bin").write_bytes(b"\xf4" + (m / "coremldata.bin").read_bytes()[1:]),
        "coremldata.bin: damaged (the model type is 500, an ML Program is 502)",
    ),
    "a-folder-for-description": (
        lambda m: ((m / "coremldata.bin").unlink(), (m / "coremldata.bin").mkdir()),
        "coremldata.bin: cannot be read (Is a directory)",
    ),
    "no-metadata": (lambda m: (m / "metadata.json").unlink(), "metadata.json: missing"),
    "broken-metadata": (_cut("metadata.json", 9), "metadata.json: damaged (Expecting property name enclosed in double"),
    "other-metadata": (
        lambda m: (m / "metadata.json").write_text("[]"),
        "metadata.json: damaged (it must be a list of",
    ),
    "deep-metadata": (
        lambda m: (m / "metadata.json").write_text("[" * 10_000),
        "metadata.json: damaged (maximum recur",
    ),
    "a-pipe-for-metadata": (
        lambda m: ((m / "metadata.json").unlink(), os.mkfifo(m / "metadata.json")),
        "metadata.json: damaged (a pipe or a device)",
    ),
    "metadata-without-schema": (
        lambda m: (m / "metadata.json").write_text(json.dumps([{"outputSchema": []}])),
        "metadata.json: damaged (inputSchema must be a list of mappings)",
    ),
    "metadata-of-other-type": (
        _replace("metadata.json", '"dataType" : "Float32"', '"dataType" : "Float16"'),
        "metadata.json: has the output noise_pred as Float16 [2, 4, 8, 16], coremldata.bin as Float32 [2, 4, 8, 16]",
    ),
    "metadata-of-other-name": (
        _replace("metadata.json", '"name" : "noise_pred"', '"name" : "sample"'),
        "metadata.json: has as outputs sample, coremldata.bin has noise_pred",
    ),
    "no-program": (lambda m: (m / "model.mil").unlink(), "model.mil: missing"),
    "other-text": (lambda m: (m / "model.mil").write_text("hello"), "model.mil: damaged (not the text of a program)"),
    "binary-program": (lambda m: (m / "model.mil").write_bytes(b"\xff\xfe"), "model.mil: damaged ('utf-8' codec can't"),
    "short-program": (_cut("model.mil", 400), "model.mil: damaged (the program is cut short)"),
    "no-main": (
        _replace("model.mil", "func main<", "func other<"),
        "model.mil: damaged (the program has no function main)",
    ),
    "program-of-other-shape": (
        _replace("model.mil", "tensor<fp16, [2]> timestep", "tensor<fp16, [1]> timestep"),
        "model.mil: has the input timestep as Float16 [1], coremldata.bin as Float16 [2]",
    ),
    "program-of-other-output": (
        _replace("model.mil", "-> (noise_pred)", "-> (noise)"),
        "model.mil: has as outputs noise, coremldata.bin has noise_pred",
    ),
    "no-weights": (
        lambda m: (m / "weights" / "weight.bin").unlink(),
        "weights/weight.bin: missing, though model.mil takes 1 weights from it",
    ),
    "short-weights": (
        _cut("weights/weight.bin", 4223),
        "weights/weight.bin: the weight at offset 64 ends at 4224, the fi",
    ),
    "empty-weights": (
        _cut("weights/weight.bin", 0),
        "weights/weight.bin: is empty, left by an interrupted download or copy",
    ),
    "other-weights": (
        lambda m: (m / "weights" / "weight.bin").write_bytes(b"\1" * 5000),
        "weights/weight.bin: not a MIL blob storage file of version 2",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_gives_its_line(name: str, model: Path) -> None:
    damage, expected = DAMAGES[name]
    damage(model)
    _, (violation,) = read_compiled(model, NAME)
    assert f"{violation.file}: {violation.what}".startswith(f"{NAME}/{expected}")


def test_an_archive_in_place_of_a_model(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"PK")
    compiled, (violation,) = read_compiled(tmp_path / NAME, NAME)
    assert compiled is None
    assert (violation.file, violation.what) == (NAME, "not a folder")


@pytest.mark.skipif(not PAIRS.is_dir(), reason=f"no compiled models of Apple's at {PAIRS}")
def test_nothing_is_wrong_with_what_apples_compiler_wrote() -> None:
    folders = sorted(PAIRS.rglob("*.mlmodelc"))
    assert folders
    for folder in folders:
        compiled, violations = read_compiled(folder, folder.name)
        assert violations == []
        assert compiled is not None
        assert compiled.inputs
        assert compiled.outputs
