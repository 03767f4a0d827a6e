"""Small compiled models with the interfaces of a pipeline's, to be broken one at a time.

Each is a real ML Program, compiled by the portable compiler: its outputs are constants from the weight file.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sdbuild.bundle.contract import Expectations
from sdbuild.coreml.blob import BlobType, BlobWriter
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.package import WEIGHT_FILE, write_package
from sdbuild.coreml.proto import FeatureTypes_pb2, MIL_pb2, Model_pb2
from sdbuild.recipe import load_family

_ARRAY = FeatureTypes_pb2.ArrayFeatureType
_TYPES = {
    "Float16": (MIL_pb2.FLOAT16, _ARRAY.FLOAT16, BlobType.FLOAT16, 2),
    "Float32": (MIL_pb2.FLOAT32, _ARRAY.FLOAT32, BlobType.FLOAT32, 4),
    "Int32": (MIL_pb2.INT32, _ARRAY.INT32, BlobType.INT32, 4),
}
VOCABULARY = {"!": 0, "a": 1, "b</w>": 2, "ab</w>": 3, "<|startoftext|>": 4, "<|endoftext|>": 5}
MERGES = "#version: 0.2\na b</w>\n"
SIZES = {"height": 64, "width": 128}

Ports = dict[str, tuple[str, tuple[int, ...]]]


@dataclass
class Interface:
    """What a model takes and gives: type and shape by name; ``described``: the description has the outputs' shapes."""

    inputs: Ports
    outputs: Ports = field(default_factory=dict)
    described: bool = True


def _f16(**shapes: tuple[int, ...]) -> Ports:
    return {name: ("Float16", shape) for name, shape in shapes.items()}


def _f32(**shapes: tuple[int, ...]) -> Ports:
    return {name: ("Float32", shape) for name, shape in shapes.items()}


def _unet(context: int, batch: int = 2, **more: tuple[int, ...]) -> Ports:
    sample, text = (batch, 4, 8, 16), (batch, context, 1, 77)
    return _f16(sample=sample, timestep=(batch,), encoder_hidden_states=text, **more)


def _ids() -> Ports:
    return _f32(input_ids=(1, 77))


def _noise() -> Ports:
    return _f32(noise_pred=(2, 4, 8, 16))


def _image() -> Ports:
    return _f32(image=(1, 3, 64, 128))


def diffusion() -> dict[str, Interface]:
    """SD 1 or 2, whole."""
    return {
        "TextEncoder": Interface(_ids(), _f32(last_hidden_state=(1, 77, 6), pooled_outputs=(1, 6))),
        "Unet": Interface(_unet(6), _noise()),
        "VAEDecoder": Interface(_f16(z=(1, 4, 8, 16)), _image()),
    }


def with_extras() -> dict[str, Interface]:
    """SD with a VAEEncoder and a SafetyChecker."""
    shapes: dict[str, tuple[int, ...]] = {"clip_input": (1, 3, 14, 14), "adjustment": (1,), "images": (1, 512, 512, 3)}
    checker = Interface(_f16(**shapes), _f32(filtered_images=(1, 2, 2, 3), has_nsfw_concepts=(1,)))
    encoder = Interface(_f16(x=(1, 3, 64, 128)), _f32(latent=(1, 8, 8, 16)))
    return diffusion() | {"VAEEncoder": encoder, "SafetyChecker": checker}


def chunks(inputs: Ports) -> dict[str, Interface]:
    """A UNet with these inputs in two chunks."""
    first = {name: port for name, port in inputs.items() if name != "timestep"}
    link = (2, 5, 4, 4)
    second = _f16(sample=(2, 4, 8, 16), timestep=(2,), mid_link=link)
    return {"UnetChunk1": Interface(first, _f32(mid_link=link)), "UnetChunk2": Interface(second, _noise())}


def chunked() -> dict[str, Interface]:
    """SD 1 or 2 with the UNet in two chunks."""
    models = diffusion()
    return models | chunks(models.pop("Unet").inputs)


def xl() -> dict[str, Interface]:
    """SDXL: its VAE in float32."""
    return {
        "TextEncoder": Interface(_ids(), _f32(hidden_embeds=(1, 77, 6), pooled_outputs=(1, 6))),
        "TextEncoder2": Interface(_ids(), _f32(hidden_embeds=(1, 77, 10), pooled_outputs=(1, 12))),
        "Unet": Interface(_unet(16, time_ids=(2, 6), text_embeds=(2, 12)), _noise()),
        "VAEDecoder": Interface(_f32(z=(1, 4, 8, 16)), _image()),
    }


def refined() -> dict[str, Interface]:
    """SDXL with a refiner."""
    return xl() | {"UnetRefiner": Interface(_unet(10, time_ids=(2, 5), text_embeds=(2, 12)), _noise())}


def controlled() -> dict[str, Interface]:
    """SD with a ControlNet and the UNet that heeds it."""
    residuals: dict[str, tuple[int, ...]] = {"down_0": (2, 7, 8, 16), "mid": (2, 7, 4, 8)}
    net = Interface(_unet(6, controlnet_cond=(2, 3, 64, 128)), _f32(**residuals))
    unet = Interface(_unet(6, **residuals), _noise())
    return diffusion() | {"controlnet/Canny": net, "ControlledUnet": unet}


def multilingual() -> dict[str, Interface]:
    """SD with the system's text encoder: 256 tokens, no tokenizer."""
    models = diffusion()
    del models["TextEncoder"]
    projection = Interface(_f16(embedding=(1, 256, 9)), _f32(projected=(1, 6, 1, 256)))
    models["Unet"].inputs["encoder_hidden_states"] = ("Float16", (2, 6, 1, 256))
    return {"MultilingualTextEncoderProjection": projection} | models


def old(models: dict[str, Interface]) -> dict[str, Interface]:
    """As coremltools 6 described them, and Apple published them: no output has a shape."""
    return {name: replace(interface, described=False) for name, interface in models.items()}


def expectations(pipeline: str, **more: Any) -> Expectations:
    """For the models above."""
    return Expectations(load_family(pipeline).contract, **{**SIZES, "batch": 2, **more})


class Workshop:
    """Compiles models, each interface once, and puts copies of them into folders."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made: dict[str, Path] = {}

    def compiled(self, interface: Interface) -> Path:
        key = repr(interface)
        if key not in self._made:
            number = len(self._made)
            self._made[key] = self._path / f"{number}.mlmodelc"
            package = self._path / f"{number}.mlpackage"
            _write(package, interface)
            compile_package(package, self._made[key])
        return self._made[key]

    def folder(self, path: Path, models: Mapping[str, Interface], tokenizer: bool = True) -> Path:
        """A Resources folder of independent copies."""
        path.mkdir()
        for name, interface in models.items():
            shutil.copytree(self.compiled(interface), path / f"{name}.mlmodelc")
        if tokenizer:
            (path / "vocab.json").write_text(json.dumps(VOCABULARY))
            (path / "merges.txt").write_text(MERGES)
        return path


def _write(path: Path, interface: Interface) -> None:
    spec = Model_pb2.Model(specificationVersion=7)
    spec.mlProgram.version = 1
    function = spec.mlProgram.functions["main"]
    function.opset = "CoreML6"
    block = function.block_specializations["CoreML6"]
    weights = path.with_suffix(".weights")
    with BlobWriter(weights) as writer:
        for name, (kind, shape) in interface.inputs.items():
            _describe(spec.description.input, name, kind, shape)
            function.inputs.add(name=name).type.CopyFrom(_type(kind, shape))
        for name, (kind, shape) in interface.outputs.items():
            _describe(spec.description.output, name, kind, shape if interface.described else ())
            _, _, blob, width = _TYPES[kind]
            size = width
            for number in shape:
                size *= number
            constant = block.operations.add(type="const")
            constant.outputs.add(name=f"{name}_value").type.CopyFrom(_type(kind, shape))
            value = constant.attributes["val"]
            value.type.CopyFrom(_type(kind, shape))
            value.blobFileValue.fileName = WEIGHT_FILE
            value.blobFileValue.offset = writer.add(blob, size, [bytes(size)])
            identity = block.operations.add(type="identity")
            identity.inputs["x"].arguments.add(name=f"{name}_value")
            identity.outputs.add(name=name).type.CopyFrom(_type(kind, shape))
            block.outputs.append(name)
    write_package(path, spec, weights)


def _type(kind: str, shape: tuple[int, ...]) -> Any:
    value = MIL_pb2.ValueType()
    value.tensorType.dataType = _TYPES[kind][0]
    value.tensorType.rank = len(shape)
    for size in shape:
        value.tensorType.dimensions.add().constant.size = size
    return value


def _describe(features: Any, name: str, kind: str, shape: tuple[int, ...]) -> None:
    array = features.add(name=name).type.multiArrayType
    array.shape.extend(shape)
    array.dataType = _TYPES[kind][1]
