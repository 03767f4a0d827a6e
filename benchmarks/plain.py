"""Plain coremltools, to measure beside: trace a component with its weights, convert it, save it. A process of its own.

    python -m benchmarks.plain MODEL_FOLDER FAMILY COMPONENT ATTENTION PACKAGE

The module is sdbuild's (the attention variants are in it, as the reference has them in its own UNet); all else is
``torch.jit.trace`` and ``coremltools.convert`` as they come, at 512x512 pixels, batch 2, macOS 13.
"""

import sys
from pathlib import Path

import coremltools as ct
import numpy as np
import torch

from sdbuild.modeling.checkpoint import Checkpoint, read_config, weight_files
from sdbuild.modeling.components import PREFIX, Shape, build
from sdbuild.recipe.family import load_family


def convert(model: Path, family: str, name: str, attention: str, path: Path) -> None:
    component = load_family(family).components[name]
    folder = model / component.folder
    built = build(component.kind, read_config(folder / "config.json"), Shape(512, 512, 2, attention=attention))
    checkpoint = Checkpoint(weight_files(folder))
    module = built.module.to_empty(device="cpu").eval()
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            if key.removeprefix(PREFIX) in checkpoint.names():
                parameter.copy_(torch.from_numpy(checkpoint.load(key.removeprefix(PREFIX))).view(parameter.shape))
        arguments = tuple(torch.zeros(argument.shape) for argument in built.arguments)
        traced = torch.jit.trace(module, arguments)
    types = {"float16": np.float16, "float32": np.float32, "component": np.float16}
    converted = ct.convert(
        traced,
        convert_to="mlprogram",
        inputs=[
            ct.TensorType(port.name, tuple(argument.shape), types[port.dtype])
            for port, argument in zip(component.inputs, arguments, strict=True)
        ],
        outputs=[ct.TensorType(port.name, dtype=np.float32) for port in component.outputs],
        minimum_deployment_target=ct.target.macOS13,
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )
    converted.save(str(path))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), *sys.argv[2:5], Path(sys.argv[5]))
