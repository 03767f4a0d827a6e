"""A single file, from the recipe to the bundle: the command line alone, as users run it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.single_files import shapes_model
from tests.test_end_to_end import take_store

SHAPES = Path(__file__).parents[1] / "sdbuild" / "shapes" / "model"
BASE = {
    "pipeline": "sd1",
    "target": {"os": "iOS17", "compute_units": "cpuAndGPU"},
    "resolution": "64x64",
    "attention": "original",
}


def sdbuild(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SDBUILD_STORE": str(folder / "store")}
    return subprocess.run(
        [sys.executable, "-m", "sdbuild", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def recipe(folder: Path, name: str, model: dict[str, Any], **others: Any) -> None:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "model": model, **BASE, **others}))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    take_store(folder)  # what comes before weights is there
    shapes_model(folder / "shapes.safetensors")
    about = {"author": "Somebody", "license": "mit", "version": "1"}  # a file has no model card
    recipe(folder, "folder", {"source": "builtin:shapes", **about})
    recipe(folder, "file", {"source": "./shapes.safetensors", "config": "builtin:shapes", **about})
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def without_origins(value: Any) -> Any:
    """A manifest without where its weights are from."""
    if isinstance(value, dict):
        return {key: without_origins(item) for key, item in value.items() if key not in ("sources",)}
    return [without_origins(item) for item in value] if isinstance(value, list) else value


def test_a_file_builds_the_bundle_of_its_folder(place: Path) -> None:
    done = sdbuild(place, "build", "config=folder.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    done = sdbuild(place, "build", "config=file.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    of_folder, of_file = tree(place / "build/folder/Resources"), tree(place / "build/file/Resources")
    assert of_file.keys() == of_folder.keys() and of_file == of_folder
    manifests = [json.loads((place / f"build/{name}/manifest.json").read_text()) for name in ("folder", "file")]
    assert without_origins(manifests[0]) == without_origins(manifests[1])
    assert [list(source) for source in manifests[1]["sources"].values()] == [["file"]] * 3
    downloads = list((place / "store/artifacts/download").glob("*/*/names.json"))
    assert {path.parent.name for path in downloads} == {"unet", "vae", "text_encoder"}
    links = [path.parent / "shapes.safetensors" for path in downloads]
    assert all(link.is_symlink() and link.resolve() == place / "shapes.safetensors" for link in links)
    assert len({path.parent.parent for path in downloads}) == 1  # one download, whatever is in the file
    assert sdbuild(place, "plan", "config=file.yaml").returncode == 0
    os.utime(place / "shapes.safetensors", ns=(1, 1))
    assert "shapes.safetensors was edited" in sdbuild(place, "why", "task=config", "config=file.yaml").stdout
