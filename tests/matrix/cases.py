"""What holds for every family, through every stage: each attention variant, and image sizes of which one is not square."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from sdbuild.bundle.compiled import read_compiled
from sdbuild.bundle.contract import Expectations, check_resources
from sdbuild.generate import Pipeline
from sdbuild.modeling import components
from sdbuild.recipe import Recipe
from tests.matrix.models import SHAPES, Model, library

PSNR = 60.0
SIZES = ("64x64", "256x160")  # 640 latent pixels: more than split_einsum_v2 takes at once
WIDE = "split_einsum_v2-256x160"
VARIANTS = [f"{attention}-{size}" for attention in ("original", "split_einsum", "split_einsum_v2") for size in SIZES]
CHOSEN = ["original-64x64", "split_einsum-64x64", WIDE]
"""Each attention and each size; ``test_convert`` has every attention at a size that is not square as well, and the slow tests
have all variants."""
_TYPES = {"float16": "Float16", "float32": "Float32"}


def recipe(model: Model, batch: int, system: str, variants: Sequence[str]) -> dict[str, Any]:
    """Every component of a model that lies beside the recipe, in every variant, and what is asked of them in dB."""
    parts = [folder for folder in model.parts if folder not in ("vae", "safety_checker")]
    parts += ["vae_decoder", "vae_encoder", *(name for name in model.parts if name == "safety_checker")]
    return {
        "name": "matrix",
        "pipeline": model.family,
        "model": {"source": "./model"},
        "target": {"os": system},
        "components": parts,
        "batch": batch,
        "verify": {"min_psnr": dict.fromkeys([*parts, "image"], PSNR)},
        "variants": [_variant(name, system) for name in variants],
    }


def _variant(name: str, system: str) -> dict[str, Any]:
    attention, size = name.split("-")
    units = "cpuAndGPU" if attention == "original" else "cpuAndNeuralEngine"
    target = {"os": system, "compute_units": units}
    return {"name": name, "attention": attention, "resolution": size, "target": target}


class Matrix:
    """Tests of one family: subclasses name its model."""

    model: Model
    batch = 2
    system = "macOS14"
    variants: Sequence[str] = CHOSEN

    def test_every_stage_of_every_component_is_as_pytorch(
        self, name: str, loaded: dict[str, Recipe], bundles: dict[str, Path]
    ) -> None:
        report = json.loads((bundles[name] / "verify.json").read_text())
        assert report["components"].keys() == set(loaded[name].components)
        for component in report["components"].values():
            assert [stage["stage"] for stage in component["stages"]] == ["convert", "compile"]
            assert min(stage["psnr"] for stage in component["stages"]) >= PSNR
        assert report["image"]["psnr"] >= PSNR

    def test_the_swift_package_finds_what_it_asks_for(
        self, name: str, loaded: dict[str, Recipe], bundles: dict[str, Path]
    ) -> None:
        size, models = loaded[name].resolution, [part.swift_name for part in loaded[name].family.components.values()]
        given: dict[str, Any] = {"batch": self.batch, "models": models if "safety_checker" in self.model.parts else []}
        resources = bundles[name] / "Resources"
        right = Expectations(loaded[name].family.contract, height=size.height, width=size.width, **given)
        assert check_resources(resources, right) == []
        swapped = Expectations(loaded[name].family.contract, height=size.width, width=size.height, **given)
        assert bool(check_resources(resources, swapped)) == (size.width != size.height)

    def test_every_port_is_the_familys(self, name: str, loaded: dict[str, Recipe], bundles: dict[str, Path]) -> None:
        """Names, types and shapes; an image's height before its width at each of them."""
        each = loaded[name]
        for part in each.components:
            component = each.component(part)
            path = bundles[name] / "Resources" / f"{component.swift_name}.mlmodelc"
            compiled, violations = read_compiled(path, path.name)
            assert compiled is not None
            assert violations == []
            config, kind = self.model.parts[component.folder][1], components.find(component.kind)
            sizes = each.dimensions(part) | kind.dimensions(config, **each.options(part))
            for ports, found in ((component.inputs, compiled.inputs), (component.outputs, compiled.outputs)):
                expected = {
                    port.name: f"{_TYPES[port.dtype]} {[sizes.get(str(size), size) for size in port.shape]}"
                    for port in ports
                }
                assert {name: str(feature) for name, feature in found.items()} == expected

    @pytest.mark.parametrize("guidance", [4.0, 1.0])
    def test_the_image_is_that_of_diffusers(self, guidance: float, bundles: dict[str, Path]) -> None:
        prompt, options = "a large red circle", {"num_inference_steps": 4, "guidance_scale": guidance}
        generator = torch.Generator().manual_seed(5)
        theirs = self._pipeline()
        size = {"height": 160, "width": 256}
        # An empty negative prompt is encoded, as the app does it; without one diffusers' SDXL takes zeros.
        wanted = theirs(prompt, negative_prompt="", generator=generator, output_type="np", **size, **options).images[0]
        image = Pipeline.open(bundles[WIDE]).generate(prompt, seed=5, steps=4, guidance=guidance, rng="torch")
        assert image.pixels.shape == (160, 256, 3)
        assert image.pixels.std() > 5
        noise = np.sqrt(np.mean((wanted - image.pixels / 255) ** 2))
        assert -20 * np.log10(noise) > 55  # 59 are what rounding to 8 bits leaves

    def _pipeline(self) -> Any:
        """diffusers' own pipeline of the library's own modules."""
        parts: dict[str, Any] = {name: part for name, part in library(self.model).items() if name != "safety_checker"}
        for folder, padding in zip(self.model.tokenizers, ("<|endoftext|>", "!"), strict=False):
            parts[folder] = CLIPTokenizer.from_pretrained(
                str(SHAPES / "tokenizer"), local_files_only=True, pad_token=padding
            )
        if self.model.family == "sdxl":
            parts["add_watermarker"] = False
        else:
            parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        scheduler = getattr(diffusers, self.model.scheduler["_class_name"]).from_config(self.model.scheduler)
        pipeline = getattr(diffusers, self.model.pipeline)(**parts, scheduler=scheduler)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
