"""A family that is one file, of a kind of component that is two, checked by a contract that is one: all of them elsewhere."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sdbuild.bundle import contracts
from sdbuild.errors import UserError
from sdbuild.generate import Pipeline
from sdbuild.graphs import read_graph
from sdbuild.graphs.graph import INPUT
from sdbuild.modeling import components
from sdbuild.plan import plan
from sdbuild.recipe import Recipe, files, load_family, load_recipe
from sdbuild.verify import originals
from tests.execute import execute
from tests.matrix.models import SD1, save

TOYS = Path(__file__).with_name("toys")
MODEL = replace(
    SD1,
    family="toy",
    pipeline="ToyPipeline",
    parts={folder: part for folder, part in SD1.parts.items() if folder != "safety_checker"},
)
RECIPE: dict[str, Any] = {
    "name": "toy",
    "pipeline": "toy",
    "model": {"source": "./model"},
    "target": {"os": "macOS14"},
    "resolution": "64x64",
    "verify": {"min_psnr": 60},
}


@pytest.fixture(scope="module", autouse=True)
def _added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The folders of toys are listed beside our own."""
    pipelines = tmp_path_factory.mktemp("pipelines")
    for path in (*files.pipelines_folder().glob("*.yaml"), TOYS / "toy.yaml"):
        shutil.copy(path, pipelines)
    packages = {components: "components", originals: "originals", contracts: "contracts"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            files, "_data", lambda folder, ours=files._data: pipelines if folder == "pipelines" else ours(folder)
        )
        for package, folder in packages.items():
            package.__path__.append(str(TOYS / folder))
        yield
        for package, folder in packages.items():
            package.__path__.remove(str(TOYS / folder))


@pytest.fixture(scope="module")
def recipe(_added: None, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("toy")
    save(MODEL, folder / "model")
    return written(folder)


def written(folder: Path, **changes: Any) -> Recipe:
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(RECIPE | changes))
    return load_recipe(path).recipes[0]


@pytest.fixture(scope="module")
def made(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    graph = plan([recipe])
    folder = tmp_path_factory.mktemp("artifacts")
    return {graph.names[node]: path for node, path in execute(graph, folder).items()}


def test_its_ports_are_what_is_traced(made: dict[str, Path]) -> None:
    graph = read_graph(made["trace:vae_decoder"] / "graph.json")
    assert [node.shape for node in graph.nodes if node.op == INPUT] == [(1, 4, 8, 8)]


def test_it_is_verified_against_its_original_and_keeps_its_contract(made: dict[str, Path]) -> None:
    report = json.loads((made["verify"] / "verify.json").read_text())
    assert report["components"].keys() == {"text_encoder", "unet", "vae_decoder"}
    assert report["image"]["psnr"] >= 60
    assert json.loads((made["bundle"] / "manifest.json").read_text())["pipeline"] == "toy"
    assert not (made["bundle"] / "Resources" / "SafetyChecker.mlmodelc").exists()


def test_images_are_dimmed(made: dict[str, Path]) -> None:
    image = Pipeline.open(made["bundle"]).generate("a large red circle", seed=5, steps=2)
    assert np.abs(image.pixels / 127.5 - 1).max() < 0.9


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [("sd1", "the UNet is one of Toy Diffusion (it attends to 64 numbers a token)"), ("sdxl", "write `pipeline: toy`")],
)
def test_its_models_are_recognised(recipe: Recipe, pipeline: str, message: str) -> None:
    with pytest.raises(UserError) as failure:
        written(recipe.path.parent, pipeline=pipeline)
    assert message in str(failure.value)


def test_a_class_of_others_is_not_its_own(recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(recipe.path.parent / "model", tmp_path / "model")
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "ToyPipelineOfOthers"}')
    graph = plan([written(tmp_path)])
    with pytest.raises(
        UserError, match=r"which can't be built; name a model of one of the pipelines sd1, sd2, sdxl, toy"
    ):
        execute(graph, tmp_path / "artifacts", graph.tasks["config"])


def test_families_are_complete() -> None:
    """Each kind has an original, and each family gives its kinds options that they have."""
    assert components.names() == originals.names()
    for name in ("sd1", "sd2", "sdxl", "toy"):
        for component in load_family(name).components.values():
            known = components.find(component.kind).build.__annotations__
            assert component.options.keys() <= known.keys()
