"""The convert stage: what a package says about itself."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from sdbuild.coreml.package import read_package
from sdbuild.errors import UserError
from sdbuild.plan import Graph, plan
from sdbuild.recipe import load_recipe
from tests.execute import execute
from tests.matrix.models import SHAPES


def test_author_license_and_version_are_the_recipes_or_else_the_cards(tmp_path: Path) -> None:
    recipe = {
        "name": "mine",
        "pipeline": "sd1",
        "model": {"source": "builtin:shapes", "author": "Jo"},
        "components": ["vae_decoder"],
        "target": {"os": "macOS14"},
        "resolution": "64x64",
        "precision": {"vae_decoder": "float32"},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    graph = plan(load_recipe(tmp_path / "mine.yaml").recipes)
    made = execute(graph, tmp_path / "made", node := graph.tasks["convert:vae_decoder"])
    spec = read_package(made[node] / "VAEDecoder.mlpackage").spec
    metadata = spec.description.metadata
    assert (metadata.author, metadata.license, metadata.versionString) == ("Jo", "apache-2.0", "builtin:shapes")
    assert metadata.shortDescription == "Turns a latent image into pixels."
    types = [feature.type.multiArrayType.dataType for feature in spec.description.input]
    assert types == [65568]  # float32, as the recipe says


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the built-in model, to be changed."""
    return Path(shutil.copytree(SHAPES, tmp_path / "model"))


def planned(model: Path, component: str) -> Graph:
    recipe = {
        "name": "mine",
        "pipeline": "sd1",
        "model": {"source": "./model"},
        "components": [component],
        "target": {"os": "macOS14"},
        "resolution": "64x64",
    }
    (model.parent / "mine.yaml").write_text(yaml.safe_dump(recipe))
    return plan(load_recipe(model.parent / "mine.yaml").recipes)


def test_a_tensor_that_nobody_reads_stops_the_build_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    path = model / "vae" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {"decoder.up_blocks.9.weight": torch.ones(8)}, path)
    with pytest.raises(UserError) as failure:
        execute(planned(model, "vae_decoder"), tmp_path / "made")
    assert str(failure.value) == (
        "weights: diffusion_pytorch_model.safetensors: decoder.up_blocks.9.weight: config.json knows of no such tensor, and a "
        "build would leave out what they do. The weights and config.json are not of the same model"
    )
    assert list((tmp_path / "made" / "convert-vae_decoder" / "output").iterdir()) == []


def test_half_a_vae_is_enough_for_half(model: Path, tmp_path: Path) -> None:
    path = model / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if not name.startswith("encoder")}, path)
    graph = planned(model, "vae_decoder")
    made = execute(graph, tmp_path / "made", node := graph.tasks["convert:vae_decoder"])
    assert (made[node] / "VAEDecoder.mlpackage").is_dir()
