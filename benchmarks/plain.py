"""Plain coremltools, to measure beside: trace a component with its weights, convert it, save it. A process of its own.

    python -m benchmarks.plain MODEL_FOLDER FAMILY COMPONENT ATTENTION PACKAGE

The module is sdbuild's, with its attention spelled out, as the reference has it in its own UNet; all else is
``torch.jit.trace`` and ``coremltools.convert`` as they come, at 512x512 pixels, batch 2, macOS 13.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.attention import spelled_out
from sdbuild.coreml.package import Package, read_package
from sdbuild.modeling.checkpoint import Checkpoint, read_config, weight_files
from sdbuild.modeling.tracing import PREFIX
from sdbuild.opset import Opset
from sdbuild.recipe.family import load_family
from tests.architectures import PARTS, Shape, build


def convert_plainly(
    module: torch.nn.Module,
    arguments: list[torch.Tensor],
    path: Path,
    inputs: dict[str, str],
    outputs: list[str],
    opset: Opset,
    precision: str,
    check: bool = False,
) -> Package:
    """``coremltools.convert`` with the default passes of 9.0; ``inputs`` are data types by name, outputs are float32.

    9.1 adds one that writes CLIP's activation, x·σ(1.702·x), as one ``gelu``: other numbers in half precision.
    ``check`` has torch trace twice and compare, as it does by default.
    """
    import coremltools as ct

    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes({"common::fuse_gelu_sigmoid_approximation"})
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # shapes become constants: they are
        traced = torch.jit.trace(module, tuple(arguments), check_trace=check)
    types = {"float16": np.float16, "float32": np.float32}
    model = ct.convert(
        traced,
        convert_to="mlprogram",
        inputs=[
            ct.TensorType(name, tuple(argument.shape), types[dtype])
            for (name, dtype), argument in zip(inputs.items(), arguments, strict=True)
        ],
        outputs=[ct.TensorType(name, dtype=np.float32) for name in outputs],
        minimum_deployment_target=getattr(ct.target, f"iOS{opset.value}"),
        compute_precision=getattr(ct.precision, precision.upper()),
        pass_pipeline=passes,
        skip_model_load=True,
    )
    model.save(str(path))
    return read_package(path)


def measured(folder: Path, family: str, name: str, attention: str, path: Path) -> None:
    """Convert a component of a model, with its weights."""
    component = load_family(family).components[name]
    files = folder / component.folder
    (kind,) = (kind for kind, part in PARTS.items() if part == (family, name))
    built = build(kind, read_config(files / "config.json"), Shape(512, 512, 2))
    checkpoint = Checkpoint(weight_files(files))
    module = spelled_out(built.module, attention).to_empty(device="cpu").eval()
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            if key.removeprefix(PREFIX) in checkpoint.names():
                parameter.copy_(torch.from_numpy(checkpoint.load(key.removeprefix(PREFIX))).view(parameter.shape))
    types = {port.name: "float32" if port.dtype == "float32" else "float16" for port in component.inputs}
    arguments = [torch.zeros(argument.shape) for argument in built.arguments]
    outputs = [port.name for port in component.outputs]
    convert_plainly(module, arguments, path, types, outputs, Opset.IOS16, "float16", check=True)


if __name__ == "__main__":
    measured(Path(sys.argv[1]), *sys.argv[2:5], Path(sys.argv[5]))
