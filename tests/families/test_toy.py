"""One thing of each kind, from folders of tests, in one build: a family, its component with an original and a contract, a
source, a stage, a step; nothing is edited elsewhere.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import sdbuild
from sdbuild.coreml.runtime import load
from sdbuild.errors import Status, UserError
from sdbuild.generate import Pipeline
from sdbuild.graphs import read_graph
from sdbuild.graphs.graph import INPUT
from sdbuild.modeling import components
from sdbuild.plan import plan
from sdbuild.recipe import load_recipe
from sdbuild.recipe.family import every_family
from sdbuild.store import Store
from sdbuild.verify import originals
from tests.execute import execute
from tests.extensions import ALL, FAMILIES, python
from tests.matrix.models import SD1, save

MODEL = replace(
    SD1,
    family="toy",
    pipeline="ToyPipeline",
    parts={folder: part for folder, part in SD1.parts.items() if folder != "safety_checker"},
)
RECIPE: dict[str, Any] = {
    "name": "toy",
    "pipeline": "toy",
    "model": {"source": "kept:model"},
    "target": {"os": "macOS15"},
    "resolution": "64x64",
    "compress": {"vae_decoder": [{"quantize": {"min_elements": 0}}]},
    "verify": {"min_psnr": 20},
}


class Place:
    """A folder with the model, a recipe, and a copy of the extension that has the family."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.family = shutil.copytree(FAMILIES, folder / "family", ignore=shutil.ignore_patterns("__pycache__"))
        save(MODEL, folder / "model")
        self.write()

    def write(self, **changes: Any) -> Path:
        path = self.folder / "toy.yaml"
        path.write_text(yaml.safe_dump(RECIPE | changes))
        return path

    def sdbuild(self, *words: str) -> str:
        extensions = [self.family, *(each for each in ALL if each != FAMILIES)]
        extra = {"TOY_MODELS": str(self.folder), "SDBUILD_STORE": str(self.folder / "store"), "OMP_NUM_THREADS": "1"}
        done = python(extensions, "-m", "sdbuild", *words, "toy.yaml", cwd=self.folder, **extra)
        assert done.returncode in (Status.DONE, Status.WOULD_RUN), done.stdout + done.stderr
        return done.stdout

    def made(self, stage: str) -> Path:
        store = Store(self.folder / "store")
        (stamp,) = store.stamps(stage, 10)
        return store.root / "artifacts" / stage / stamp.key


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def built(place: Place) -> Place:
    place.sdbuild("build")
    return place


def test_all_that_was_added_does_its_part(built: Place) -> None:
    report = json.loads((built.folder / "build" / "toy" / "verify.json").read_text())
    assert list(report["components"]) == ["vae_decoder"]
    stages = {each["stage"]: each for each in report["components"]["vae_decoder"]["stages"]}
    assert list(stages) == ["convert", "hush", "compress", "compile"]
    assert stages["convert"]["psnr"] >= 60 > stages["compress"]["psnr"] >= 20
    manifest = json.loads((built.folder / "build" / "toy" / "manifest.json").read_text())
    assert (manifest["pipeline"], list(manifest["models"])) == ("toy", ["VAEDecoder"])


def test_its_ports_are_what_is_traced(built: Place) -> None:
    graph = read_graph(built.made("trace") / "graph.json")
    assert [node.shape for node in graph.nodes if node.op == INPUT] == [(1, 4, 8, 8)]


def test_images_are_dimmed(built: Place) -> None:
    from diffusers import AutoencoderKL

    z = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    model = AutoencoderKL.from_pretrained(str(built.folder / "model" / "vae")).eval()
    with torch.no_grad():
        whole = model.decode(torch.from_numpy(z)).sample.numpy()
    dimmed = load(built.folder / "build" / "toy" / "Resources" / "VAEDecoder.mlmodelc").predict({"z": z})["image"]
    np.testing.assert_allclose(dimmed, 0.5 * whole, atol=0.05 * np.abs(whole).max())
    assert np.abs(whole).max() > 0.1


def test_an_edit_of_an_extension_is_in_the_keys_of_what_it_made(built: Place) -> None:
    def due() -> dict[str, str]:
        return {each["task"]: each["why"] for each in json.loads(built.sdbuild("plan", "json=1"))["would_run"]}

    assert due() == {}
    component = built.family / "modeling" / "components" / "dimmed.py"
    text = component.read_text()
    component.write_text(text.replace("* self.gain", "* self.gain * self.gain"))
    try:
        edited = {task: reason for task, reason in due().items() if not reason.startswith("after ")}
        assert edited == {
            "trace:vae_decoder": "the extension with modeling/components/dimmed.py was edited",
            "originals": "the extension with verify/originals/dimmed.py was edited",
        }
    finally:
        component.write_text(text)
    assert due() == {}


@pytest.mark.slow
def test_the_whole_family_generates_dimmed_images(place: Place) -> None:
    components = ["text_encoder", "unet", "vae_decoder"]
    place.write(name="whole", components=components, compress={}, verify={"min_psnr": 60})
    place.sdbuild("build")
    report = json.loads((place.folder / "build" / "whole" / "verify.json").read_text())
    assert list(report["components"]) == components
    assert report["image"]["psnr"] >= 60
    image = Pipeline.open(place.folder / "build" / "whole").generate("a large red circle", seed=5, steps=2)
    assert np.abs(image.pixels / 127.5 - 1).max() < 0.9


@pytest.fixture
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes of this process know the family: it and its kinds are found where they lie."""
    monkeypatch.setattr(sdbuild, "__path__", [*sdbuild.__path__, str(FAMILIES)])


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize(
    ("pipeline", "message"),
    [("sd1", "the UNet is one of Toy Diffusion (it attends to 64 numbers a token)"), ("sdxl", "write `pipeline: toy`")],
)
def test_its_models_are_recognised(pipeline: str, message: str, place: Place) -> None:
    model = {"source": str(place.folder / "model")}
    with pytest.raises(UserError, match=re.escape(message)):
        load_recipe(place.write(pipeline=pipeline, model=model, compress={}))


@pytest.mark.usefixtures("_known")
def test_a_class_of_others_is_not_its_own(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.folder / "model", tmp_path / "model")
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "ToyPipelineOfOthers"}')
    graph = plan(load_recipe(place.write(model={"source": str(tmp_path / "model")}, compress={})).recipes)
    with pytest.raises(
        UserError, match=r"which can't be built; name a model of one of the pipelines sd1, sd2, sdxl, toy"
    ):
        execute(graph, tmp_path / "artifacts", graph.tasks["config"])


def test_families_are_complete() -> None:
    """Each kind has an original, and each family gives its kinds options that they have."""
    assert components.names() == originals.names()
    for family in every_family().values():
        for component in family.components.values():
            known = components.find(component.kind).build.__annotations__
            assert component.options.keys() <= known.keys()
