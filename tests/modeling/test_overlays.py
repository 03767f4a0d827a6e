"""Overlays change weights as they are read: for conversion and for the original alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sdbuild.coreml.package import read_package
from sdbuild.job import Found
from sdbuild.modeling import overlays
from sdbuild.modeling.checkpoint import Checkpoint, weight_files
from sdbuild.modeling.weights import open_weights
from sdbuild.overlay import Layer, Overlays
from sdbuild.plan import Graph, Node, key_of, plan
from sdbuild.plan import ingredients as ingredients_of
from sdbuild.recipe import load_recipe
from sdbuild.verify.reference import Reference
from tests.execute import execute, run, with_paths
from tests.matrix.models import SHAPES

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlays, "__path__", [*overlays.__path__, str(TOYS / "modeling" / "overlays")])


def shifted(folder: Path, by: float, times: float = 1.0) -> Overlays:
    folder.mkdir(exist_ok=True)
    (folder / "by").write_text(str(by))
    return {"shift": {"one": Layer(files=Found(folder), settings={"times": times})}}


def planned(tmp_path: Path) -> Graph:
    recipe = {
        "name": "mine",
        "pipeline": "sd1",
        "model": {"source": "builtin:shapes"},
        "components": ["vae_decoder"],
        "target": {"os": "macOS14"},
        "resolution": "64x64",
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    return plan(load_recipe(tmp_path / "mine.yaml").recipes)


def test_the_package_holds_what_the_overlay_makes_of_the_weights(tmp_path: Path) -> None:
    graph = planned(tmp_path)
    node = graph.tasks["convert:vae_decoder"]
    made = execute(graph, tmp_path / "made", node)
    job: Any = replace(with_paths(node, made), overlays=shifted(tmp_path / "shift", 0.5, 3))
    package = read_package(run(job, tmp_path / "laid") / "VAEDecoder.mlpackage")
    name = "decoder.conv_in.bias"
    stored = Checkpoint(weight_files(SHAPES / "vae")).load(name)
    wanted = (stored.astype(np.float32) + np.float32(1.5)).astype(np.float16)
    constants = [
        np.frombuffer(attribute.immediateValue.tensor.bytes.values, np.float16)
        for function in package.spec.mlProgram.functions.values()
        for operation in function.block_specializations[function.opset].operations
        for attribute in operation.attributes.values()
        if attribute.immediateValue.tensor.bytes.values
    ]
    weights = np.fromfile(package.path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin", np.uint8)
    assert any(np.array_equal(each, wanted) for each in constants) or wanted.tobytes() in weights.tobytes()


def test_the_original_reads_the_same(tmp_path: Path) -> None:
    z = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    config, folder = SHAPES / "vae" / "config.json", SHAPES / "vae"
    plain = Reference("vae_decoder", config, folder, {})([z])[0]
    laid = shifted(tmp_path / "shift", 0.0)
    np.testing.assert_array_equal(Reference("vae_decoder", config, folder, {}, laid)([z])[0], plain)
    other = Reference("vae_decoder", config, folder, {}, shifted(tmp_path / "shift", 0.01))([z])[0]
    assert np.abs(other - plain).max() > 0.01


def test_without_an_overlay_the_checkpoint_itself_is_read() -> None:
    assert type(open_weights(SHAPES / "vae", {}, {})) is Checkpoint


def test_an_overlay_is_in_the_key_with_its_settings_and_its_file_by_name(tmp_path: Path) -> None:
    graph = planned(tmp_path)
    node = graph.tasks["convert:vae_decoder"]
    plain = ingredients(node)
    assert "overlays" not in plain["parameters"]

    def laid(times: float) -> dict[str, Any]:
        layer = Layer(files=graph.tasks["download:vae_decoder"], settings={"times": times})
        job: Any = node.job
        return ingredients(Node(replace(job, overlays={"shift": {"one": layer}}), node.name))

    one = laid(1.0)
    assert one["parameters"]["overlays"] == {"shift": {"one": {"settings": {"times": 1.0}}}}
    assert [item["role"] for item in one["inputs"] if item not in plain["inputs"]] == ["overlays.shift.one.files"]
    assert len({key_of(plain), key_of(one), key_of(laid(2.0))}) == 3


def ingredients(node: Node) -> dict[str, Any]:
    return ingredients_of(node, ["digest" for _ in node.inputs])
