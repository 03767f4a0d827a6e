"""What this project's own converter, chunker and compiler make passes the contract."""

from pathlib import Path
from typing import Any

from sdbuild.bundle.contract import Expectations, check_resources
from sdbuild.coreml.chunk import chunk
from sdbuild.coreml.compiler import compile_package
from tests.architectures import CHECKER, TEXT, UNET, VAE
from tests.bundle.models import Workshop, xl
from tests.coreml.convert.test_convert import convert_component

SIZE = {"height": 64, "width": 128, "batch": 2}


def build(path: Path, kind: str, config: dict[str, Any], name: str, precision: str = "float16") -> None:
    work = path / f"{name}.work"
    work.mkdir()
    package, _, _ = convert_component(work, kind, config, precision=precision)
    compile_package(package.path, path / "Resources" / f"{name}.mlmodelc")


def test_sd_with_all_that_is_optional_whole_and_in_chunks(tmp_path: Path) -> None:
    resources = Workshop(tmp_path).folder(tmp_path / "Resources", {})
    build(tmp_path, "clip_text", TEXT, "TextEncoder")
    build(tmp_path, "vae_decoder", VAE, "VAEDecoder")
    build(tmp_path, "vae_encoder", VAE, "VAEEncoder")
    build(tmp_path, "safety_checker", CHECKER, "SafetyChecker")
    package, _, _ = convert_component(tmp_path, "unet", UNET)
    compile_package(package.path, resources / "Unet.mlmodelc")
    expectations = Expectations("stable_diffusion", **SIZE, models=["VAEEncoder", "SafetyChecker"])
    assert check_resources(resources, expectations) == []

    parts = [tmp_path / f"UnetChunk{number}.mlpackage" for number in (1, 2)]
    for part in chunk(package, *parts, lambda done, total: None):
        compile_package(part.path, resources / f"{part.path.stem}.mlmodelc")
    (resources / "Unet.mlmodelc").rename(tmp_path / "whole")
    assert check_resources(resources, expectations) == []


def test_a_vae_in_float32_has_no_float16_in_it(tmp_path: Path) -> None:
    models = xl()
    del models["VAEDecoder"]
    resources = Workshop(tmp_path).folder(tmp_path / "Resources", models)
    build(tmp_path, "vae_decoder", VAE, "VAEDecoder", "float32")
    assert check_resources(resources, Expectations("stable_diffusion_xl", **SIZE)) == []
