"""Plain coremltools: the conversion that the world knows, of the very module that sdbuild traces, weights and all."""

import warnings
from pathlib import Path

import numpy as np
import torch

from sdbuild.coreml.package import Package, read_package
from sdbuild.modeling.channels_first import _ChannelNorm
from sdbuild.modeling.components import PREFIX, Component


def with_weights(component: Component, model: torch.nn.Module) -> torch.nn.Module:
    """The component's module off the meta device, with the weights of the library's own model."""
    state = model.state_dict()
    module = component.module.to_empty(device="cpu").eval()
    parameters = {name: state[name.removeprefix(PREFIX)].reshape(p.shape) for name, p in module.named_parameters()}
    _, unexpected = module.load_state_dict(parameters, strict=False)
    assert not unexpected
    return module


class _RecognisedNorm(torch.nn.Module):
    """Layer norm over channels, the one way of writing it that coremltools makes a single ``layer_norm`` of.

    It divides a shift by a scale that it then multiplies with: exact where scales are powers of two, as `make_exact` has
    them, and the reason why sdbuild's modules are not written so.
    """

    def __init__(self, norm: torch.nn.Module) -> None:
        super().__init__()
        shape = (1, -1, 1, 1)
        self.scale, self.shift = norm.weight.detach().view(shape), (norm.bias / norm.weight).detach().view(shape)
        self.epsilon = norm.epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        normal = centred * ((centred * centred).mean(dim=1, keepdim=True) + self.epsilon).rsqrt()
        return (normal + self.shift) * self.scale


def make_exact(model: torch.nn.Module) -> torch.nn.Module:
    """Scales of layer norms to powers of two, in place."""
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            scales = torch.randint(-1, 2, module.weight.shape, generator=torch.Generator().manual_seed(5))
            module.weight.data = 2.0**scales
    return model


def recognised(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its norms over channels in the form that coremltools recognises, in place."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _ChannelNorm):
                setattr(parent, name, _RecognisedNorm(child))
    return module


def convert_plainly(
    module: torch.nn.Module,
    arguments: list[torch.Tensor],
    path: Path,
    inputs: dict[str, str],
    outputs: list[str],
    opset: str,
    precision: str,
) -> Package:
    """``coremltools.convert`` with its default passes; ``inputs`` are data types by name, outputs are float32."""
    import coremltools as ct

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # shapes become constants: they are
        traced = torch.jit.trace(module, tuple(arguments), check_trace=False)
    types = {"float16": np.float16, "float32": np.float32}
    model = ct.convert(
        traced,
        convert_to="mlprogram",
        inputs=[
            ct.TensorType(name, tuple(argument.shape), types[dtype])
            for (name, dtype), argument in zip(inputs.items(), arguments, strict=True)
        ],
        outputs=[ct.TensorType(name, dtype=np.float32) for name in outputs],
        minimum_deployment_target=getattr(
            ct.target, {"CoreML5": "iOS15", "CoreML6": "iOS16", "CoreML7": "iOS17", "CoreML8": "iOS18"}[opset]
        ),
        compute_precision=getattr(ct.precision, precision.upper()),
        skip_model_load=True,
    )
    model.save(str(path))
    return read_package(path)
