"""Bundles and the library's own pipelines, built once for all tests of this room."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.generate.bundles import MODEL, shapes, xl, xl_reference
from tests.once import once

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def whole() -> Path:
    """The model that comes with sdbuild: one UNet of batch 2, no VAE encoder."""
    return once("generate-whole", shapes)


@pytest.fixture(scope="session")
def chunked() -> Path:
    """The same with a UNet of batch 1 in two chunks, and a VAE encoder."""
    return once("generate-chunked", lambda path: shapes(path, batch=1, chunked=True, encoder=True))


@pytest.fixture(scope="session")
def large() -> Path:
    """A small SDXL with random weights, 64 × 128."""
    return once("generate-large", xl)


@pytest.fixture(scope="session")
def reference() -> Any:
    """diffusers' pipeline with the model that comes with sdbuild."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(str(MODEL), local_files_only=True).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def large_reference() -> Any:
    """diffusers' pipeline with the weights of ``large``."""
    return xl_reference()


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    logging.getLogger("transformers").setLevel(logging.ERROR)
