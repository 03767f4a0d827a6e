"""Recipes for tests of the plan."""

from pathlib import Path
from typing import Any

import yaml

from sdbuild.plan import Graph, Node, plan
from sdbuild.recipe import load_recipe

BASE: dict[str, Any] = {
    "name": "mine",
    "pipeline": "sd1",
    "model": {"source": "org/model", "revision": "0" * 40},
    "target": {"os": "macOS14"},
    "resolution": "512x512",
}
MODEL_FILES = {
    "model_index.json": "{}",
    "text_encoder/config.json": "{}",
    "text_encoder/model.safetensors": "text weights",
    "unet/config.json": "{}",
    "unet/diffusion_pytorch_model.safetensors": "unet weights",
    "vae/config.json": "{}",
    "vae/diffusion_pytorch_model.safetensors": "vae weights",
    "tokenizer/vocab.json": "{}",
    "scheduler/scheduler_config.json": "{}",
    "samples/picture.png": "",
}


def graph(folder: Path, **changes: Any) -> Graph:
    """The plan of a recipe in ``folder``: `BASE` with changes."""
    path = folder / f"{changes.get('name', 'mine')}.yaml"
    path.write_text(yaml.safe_dump(BASE | changes))
    return plan(load_recipe(path).recipes)


def local_model(folder: Path) -> Path:
    """A folder with the files of a model, if only in name."""
    for name, content in MODEL_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def differing(first: Graph, second: Graph) -> set[str]:
    """Names of tasks that only one of two graphs has, or that are different nodes; a node counts as changed only when
    its own stage, parameters or inputs' places do, as with equal inputs its key would be another."""
    names = first.tasks.keys() | second.tasks.keys()
    return {name for name in names if _own(first.tasks.get(name)) != _own(second.tasks.get(name))}


def _own(node: Node | None) -> Any:
    if node is None:
        return None
    return node.stage, node.name, node.parameters, [(item.role, item.node.label, item.subpath) for item in node.inputs]
