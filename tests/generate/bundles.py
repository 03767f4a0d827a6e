"""Real bundles, built by this project's own rooms: of the model that comes with it, and of small random ones."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdbuild.bundle.assemble import assemble
from sdbuild.bundle.manifest import Description, make_manifest, write_manifest
from sdbuild.coreml.chunk import chunk
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.graphs import read_graph
from sdbuild.modeling.checkpoint import Checkpoint, read_config
from sdbuild.opset import Opset
from sdbuild.recipe import load_family
from sdbuild.wiring import Sizes
from tests.architectures import CHECKER, TEXT, TEXT_XL, UNET_XL, VAE, Shape, make
from tests.once import traced

MODEL = Path(__file__).parents[2] / "sdbuild" / "shapes" / "model"


@dataclass(frozen=True)
class Component:
    """What a model of a bundle is made from."""

    name: str
    kind: str
    config: Mapping[str, Any]
    weights: Callable[[str], Any]


def shapes_component(name: str, kind: str, folder: str) -> Component:
    weights = Checkpoint(sorted((MODEL / folder).glob("*.safetensors")))
    return Component(name, kind, read_config(MODEL / folder / "config.json"), weights.load)


def shapes(path: Path, *, batch: int = 2, chunked: bool = False, encoder: bool = False) -> Path:
    """The model that comes with sdbuild, 64 × 64."""
    components = [
        shapes_component("TextEncoder", "clip_text", "text_encoder"),
        shapes_component("Unet", "unet", "unet"),
        shapes_component("VAEDecoder", "vae_decoder", "vae"),
    ]
    if encoder:
        components.append(shapes_component("VAEEncoder", "vae_encoder", "vae"))
    scheduler = json.loads((MODEL / "scheduler" / "scheduler_config.json").read_text())
    return bundle(path, "sd1", components, scheduler, Shape(height=64, width=64, batch=batch), chunked=chunked)


def bundle(
    path: Path,
    pipeline: str,
    components: list[Component],
    scheduler: Mapping[str, Any],
    shape: Shape,
    *,
    vae_scale: float = 0.18215,
    chunked: bool = False,
) -> Path:
    """Trace, convert, chunk, compile and describe."""
    work = path / "work"
    work.mkdir(parents=True)
    models = {}
    for component in components:
        package = _package(work / f"{component.name}.mlpackage", pipeline, component, shape)
        packages = [package.path]
        if chunked and component.name == "Unet":
            packages = [work / f"UnetChunk{number}.mlpackage" for number in (1, 2)]
            chunk(package, *packages, lambda done, total: None)
        for package_path in packages:
            models[package_path.stem] = work / f"{package_path.stem}.mlmodelc"
            compile_package(package_path, models[package_path.stem])
    assemble(models, [MODEL / "tokenizer"], path / "Resources")
    return _described(path, pipeline, scheduler, shape, vae_scale, chunked)


def with_checker(path: Path, whole: Path, weights: Callable[[str], Any]) -> Path:
    """`shapes`, as it was built in ``whole``, and a small safety checker with those weights."""
    shutil.copytree(whole / "Resources", path / "Resources")
    checker = Component("SafetyChecker", "safety_checker", CHECKER, weights)
    package = _package(path / "work" / "SafetyChecker.mlpackage", "sd1", checker, Shape())
    compile_package(package.path, path / "Resources" / "SafetyChecker.mlmodelc")
    scheduler = json.loads((MODEL / "scheduler" / "scheduler_config.json").read_text())
    return _described(path, "sd1", scheduler, Shape(height=64, width=64, batch=2))


def _described(
    path: Path,
    pipeline: str,
    scheduler: Mapping[str, Any],
    shape: Shape,
    vae_scale: float = 0.18215,
    chunked: bool = False,
) -> Path:
    """The bundle ``path``, with a manifest for its Resources."""
    family, built = load_family(pipeline), {each.stem for each in (path / "Resources").glob("*.mlmodelc")}
    description = Description(
        pipeline=pipeline,
        sources={},
        sizes=Sizes(
            height=shape.height,
            width=shape.width,
            batch=shape.batch,
            tokens=77,
            latent_channels=4,
            vae_factor=8,
            vae_scale=vae_scale,
        ),
        attention="original",
        networks=[
            component.part(name, ["UnetChunk1", "UnetChunk2"] if chunked and name == "unet" else [component.swift_name])
            for name, component in family.components.items()
            if component.swift_name in built or (chunked and name == "unet")
        ],
        scheduler_overrides=family.scheduler_overrides,
        scheduler=scheduler,
        os="iOS17",
        compute_units="cpuAndGPU",
        compiler={},
        tools={},
    )
    write_manifest(make_manifest(path / "Resources", description), path / "manifest.json")
    return path


def _package(path: Path, pipeline: str, component: Component, shape: Shape) -> Any:
    family = load_family(pipeline).components.values()
    (ports,) = [known for known in family if known.swift_name == component.name]
    path.parent.mkdir(exist_ok=True)
    return convert(
        read_graph(traced(component.kind, component.config, shape)),
        lambda name: np.asarray(component.weights(name)),
        path,
        inputs=[_port(port) for port in ports.inputs],
        outputs=[_port(port) for port in ports.outputs],
        opset=Opset.IOS17,
        precision=ports.precision,
        metadata=Metadata(description="", author="", license="", version="", user={}),
    )


def _port(port: Any) -> Port:
    return Port(port.name, "float16" if port.dtype == "component" else port.dtype)


_VOCABULARY = json.loads((MODEL / "tokenizer" / "vocab.json").read_text())
_TOKENS = {
    "vocab_size": len(_VOCABULARY),
    "bos_token_id": _VOCABULARY["<|startoftext|>"],
    "eos_token_id": _VOCABULARY["<|endoftext|>"],
    "pad_token_id": _VOCABULARY["<|endoftext|>"],
}
_XL = {
    "TextEncoder": ("clip_text_pooled", TEXT | _TOKENS),
    "TextEncoder2": ("clip_text_pooled", TEXT_XL | _TOKENS),
    "Unet": ("unet_xl", UNET_XL | {"cross_attention_dim": 2 * TEXT["hidden_size"]}),
    "VAEDecoder": ("vae_decoder", VAE | {"scaling_factor": 0.13025}),
}
_XL_SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def xl(path: Path) -> Path:
    """SDXL's structure with small random models, 64 × 128."""
    components = [
        Component(name, kind, config, make(kind, config).state_dict().__getitem__)
        for name, (kind, config) in _XL.items()
    ]
    return bundle(path, "sdxl", components, _XL_SCHEDULER, Shape(height=64, width=128, batch=2), vae_scale=0.13025)


def xl_reference() -> Any:
    """diffusers' own pipeline with the same weights."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTokenizer

    models = {name: make(kind, config) for name, (kind, config) in _XL.items()}
    pipeline = StableDiffusionXLPipeline(
        vae=models["VAEDecoder"],
        text_encoder=models["TextEncoder"],
        text_encoder_2=models["TextEncoder2"],
        tokenizer=CLIPTokenizer.from_pretrained(str(MODEL / "tokenizer"), local_files_only=True),
        tokenizer_2=CLIPTokenizer.from_pretrained(str(MODEL / "tokenizer"), local_files_only=True, pad_token="!"),
        unet=models["Unet"],
        scheduler=EulerDiscreteScheduler.from_config(_XL_SCHEDULER),
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
