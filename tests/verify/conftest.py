"""One thread: sums in the same order every time, and room for the other tests. And the real model, built once."""

import pytest
import torch

from sdbuild.verify.pipeline import Subject
from tests.architectures import Shape
from tests.verify.built import built, shapes

_COMPONENTS = {
    "text_encoder": ("text_encoder", "clip_text"),
    "unet": ("unet", "unet"),
    "vae_decoder": ("vae", "vae_decoder"),
    "vae_encoder": ("vae", "vae_encoder"),
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """Every component of the model that comes with sdbuild, uncompressed, the UNet in two chunks."""
    folder, shape = tmp_path_factory.mktemp("shapes"), Shape(height=64, width=64, batch=2)
    return {
        name: built(folder / name, name, shapes(*where), shape, chunked=name == "unet")
        for name, where in _COMPONENTS.items()
    }
