"""Bundles and the library's own pipelines, built once for all tests of this room."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from tests.generate.bundles import MODEL, shapes, xl, xl_reference

torch.set_num_threads(1)


def _once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], Path]) -> Path:
    """A folder that all worker processes of a run share; the first to want it builds it."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    path = base / f"generate-{name}"
    with FileLock(base / f"generate-{name}.lock"):
        if not path.exists():
            build(path)
    return path


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that comes with sdbuild: one UNet of batch 2, no VAE encoder."""
    return _once(tmp_path_factory, "whole", shapes)


@pytest.fixture(scope="session")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a UNet of batch 1 in two chunks, and a VAE encoder."""
    return _once(tmp_path_factory, "chunked", lambda path: shapes(path, batch=1, chunked=True, encoder=True))


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SDXL with random weights, 64 × 128."""
    return _once(tmp_path_factory, "large", xl)


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
