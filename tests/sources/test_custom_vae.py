"""The VAE of SDXL in built models: float32 unless its source is known to bear float16, and the same for both halves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import save as as_safetensors

from sdbuild.bundle.compiled import read_compiled
from sdbuild.coreml.runtime import load
from sdbuild.plan import plan
from sdbuild.recipe import load_recipe
from tests.execute import execute
from tests.matrix.models import SDXL, library, save
from tests.sources.hub_server import HubServer

SAFE = "madebyollin/sdxl-vae-fp16-fix"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xl") / "model"
    save(SDXL, folder)
    return folder


def other_vae() -> Any:
    """A VAE with weights of its own."""
    vae = library(SDXL)["vae"]
    with torch.no_grad():
        for weight in vae.parameters():
            weight.copy_((weight * 1.25).half())
    return vae


@pytest.mark.parametrize(("source", "precision"), [(None, "float32"), ("./vae", "float32"), (SAFE, "float16")])
def test_both_halves_are_built_from_it_in_its_precision(
    source: str | None,
    precision: str,
    model: Path,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    vae = other_vae() if source else library(SDXL)["vae"]
    files = {
        "config.json": json.dumps(SDXL.parts["vae"][1]).encode(),
        "diffusion_pytorch_model.safetensors": as_safetensors(
            {name: tensor.half().contiguous() for name, tensor in vae.state_dict().items()}
        ),
    }
    (tmp_path / "vae").mkdir()
    for name, content in files.items():
        (tmp_path / "vae" / name).write_bytes(content)
    hub.add(SAFE, files)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    recipe = {
        "name": "mine",
        "pipeline": "sdxl",
        "model": {"source": str(model), **({"vae": source} if source else {})},
        "components": ["vae_decoder", "vae_encoder"],
        "target": {"os": "macOS14"},
        "resolution": "96x64",
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    graph = plan(load_recipe(tmp_path / "mine.yaml").recipes)
    (build,) = graph.builds
    made = execute(graph, tmp_path / "artifacts", *(model.compiled for model in build.models))

    generator = torch.Generator().manual_seed(2)
    latents, image = (torch.randn(1, c, h, w, generator=generator) for c, h, w in ((4, 8, 12), (3, 64, 96)))
    with torch.no_grad():
        cases = {
            "VAEDecoder": (latents, vae.decode(latents).sample),
            "VAEEncoder": (image, vae.encode(image).latent_dist.parameters),
        }
    assert [each.name for each in build.models] == list(cases)
    for each in build.models:
        path = made[each.compiled] / f"{each.name}.mlmodelc"
        compiled, violations = read_compiled(path, path.name)
        assert compiled is not None
        assert violations == []
        given, expected = cases[each.name]
        ((port, feature),) = compiled.inputs.items()
        assert feature.dtype == precision.capitalize()
        assert ("Float16" in compiled.precision) == (precision == "float16")
        weights = sum(file.stat().st_size for file in path.glob("weights/*"))
        half = "encoder" if each.name == "VAEEncoder" else "decoder"
        count = sum(p.numel() for name, p in vae.named_parameters() if name.startswith((half, "post_quant", "quant")))
        assert count * (2 if precision == "float16" else 4) < weights < 2 * count * (2 if precision == "float16" else 4)
        (result,) = load(path).predict({port: given.numpy()}).values()
        noise = np.sqrt(np.mean((expected.numpy() - result) ** 2))
        assert 20 * np.log10(np.abs(expected.numpy()).max() / noise) > (60 if precision == "float16" else 100)
