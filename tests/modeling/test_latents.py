"""A VAE with a scale or a shift of its own: apps have their family's constant, and the halves that are built make it right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from sdbuild.coreml.runtime import load
from sdbuild.modeling.tracing import PREFIX
from tests.architectures import VAE, Shape, build, make, original
from tests.verify.built import built, saved

APP = 0.18215
SHAPE = Shape(height=32, width=64, vae_scale=APP)
OWN: list[dict[str, Any]] = [
    {"scaling_factor": 0.5},
    {"scaling_factor": 0.05, "shift_factor": -0.3},
    {"shift_factor": 0.1159},
    {"scaling_factor": APP},
    {},
]


def own(config: dict[str, Any]) -> AutoencoderKL:
    vae: Any = make("vae_decoder", VAE | config)
    return vae


def half(kind: str, config: dict[str, Any]) -> Any:
    """Ours, with the weights of the library's."""
    module = build(kind, VAE | config, SHAPE).module
    state = own(config).state_dict()
    module.load_state_dict({name: state[name.removeprefix(PREFIX)] for name in module.state_dict()}, assign=True)
    return module


def given(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("config", OWN)
def test_the_apps_constant_decodes_as_the_library_does(config: dict[str, Any]) -> None:
    vae, latents = own(config), given(1, 4, 4, 8)  # as the UNet leaves them
    with torch.no_grad():
        (image,) = half("vae_decoder", config)(latents / APP)
        expected = vae.decode(latents / vae.config.scaling_factor + (vae.config.shift_factor or 0)).sample
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", OWN)
def test_the_apps_constant_encodes_as_the_library_does(config: dict[str, Any]) -> None:
    """The app draws from the distribution, and multiplies what it drew."""
    vae, image, noise = own(config), given(1, 3, 32, 64), given(1, 4, 4, 8)
    with torch.no_grad():
        mean, log_variance = half("vae_encoder", config)(image)[0].chunk(2, dim=1)
        found = vae.encode(image).latent_dist
    latents = (mean + torch.exp(log_variance / 2) * noise) * APP
    expected = (found.mean + found.std * noise - (vae.config.shift_factor or 0)) * vae.config.scaling_factor
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["vae_decoder", "vae_encoder"])
def test_the_familys_own_scale_adds_no_operation(kind: str) -> None:
    def operations(config: dict[str, Any], shape: Shape) -> list[str]:
        component = build(kind, VAE | config, shape)
        exported = torch.export.export(component.module, component.arguments, strict=False)
        return [str(node.target) for node in exported.graph.nodes]

    plain = operations({}, Shape(height=32, width=64))
    rounded = {"scaling_factor": float(np.float32(APP)), "shift_factor": 0}
    assert operations(rounded, SHAPE) == plain
    assert len(operations({"scaling_factor": 0.5}, SHAPE)) > len(plain)


@pytest.mark.parametrize(("kind", "shape"), [("vae_decoder", (1, 4, 4, 8)), ("vae_encoder", (1, 3, 32, 64))])
def test_compiled_it_is_what_verify_takes_for_the_original(kind: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    source = saved(tmp_path / "source", kind, VAE | OWN[1])
    subject = built(tmp_path / "built", kind, source, SHAPE)
    (expected,) = original(kind, source.config, source.weights, APP)([given(*shape).numpy()])
    model = load(subject.stages["compile"][0])
    (port,) = model.inputs
    (found,) = model.predict({port: given(*shape).numpy()}).values()
    noise = np.sqrt(np.mean((found - expected) ** 2))
    assert 20 * np.log10(np.abs(expected).max() / noise) > 55
