"""For plain coremltools: the very module that sdbuild traces, weights and all, in a form that can be compared."""

import torch

from benchmarks.attention import spelled_out
from sdbuild.modeling.building import Component
from sdbuild.modeling.channels_first import _ChannelNorm
from sdbuild.modeling.tracing import PREFIX


def with_weights(component: Component, model: torch.nn.Module, attention: str) -> torch.nn.Module:
    """The component's module off the meta device, with the weights of the library's own model, its attention spelled out."""
    state = model.state_dict()
    module = spelled_out(component.module, attention).to_empty(device="cpu").eval()
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
