"""The convert stage: what a package says about itself."""

from pathlib import Path

import yaml

from sdbuild.coreml.package import read_package
from sdbuild.plan import plan
from sdbuild.recipe import load_recipe
from tests.execute import execute


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
