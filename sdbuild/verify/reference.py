"""The PyTorch originals: the modules of diffusers and transformers as they are, in float32.

Nothing of ours takes part but the reading of configurations and weights: not the reshaped attention, nor the wrappers that
are traced.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sdbuild.arrays import Array
from sdbuild.errors import SourceError
from sdbuild.modeling.checkpoint import read_config
from sdbuild.modeling.weights import Weights, open_weights
from sdbuild.overlay import Overlays
from sdbuild.verify import originals

_KEPT_BYTES = 1 << 30
"""Of weights as they are stored, of models that fit in float16: text encoders and VAEs.

Of a larger one nothing is kept. A part would save little time, and what the heap grows by for it stays the process's until
its end, as small objects lie behind it: under a limit (RLIMIT_DATA) the VAE of an SDXL image then had no room after the UNet.
"""


class Reference:
    """A component in PyTorch: float32 arrays in the order of its inputs to arrays in the order of its outputs.

    A layer gets its weights in float32 when it runs, and loses them after it, so that only one layer of a model is in memory
    at a time. Those of a small model are kept between calls as they are stored, up to `_KEPT_BYTES`; others are read again.
    """

    def __init__(
        self, kind: str, config: Path, weights: Path, options: Mapping[str, Any], laid: Overlays | None = None
    ) -> None:
        """Build the original of a kind, see `originals`, from ``config.json``, the kind's options and a folder of weights.

        ``laid`` is what is laid over the weights.

        Raises:
            UserError: the weights cannot be read, or what is laid over them is not for this model.
        """
        with torch.device("meta"):
            self._model, self._forward = originals.build(kind, read_config(config), options)
        shapes = {name: tuple(parameter.shape) for name, parameter in self._model.named_parameters()}
        fits = 2 * sum(map(math.prod, shapes.values())) <= _KEPT_BYTES
        _stream(self._model.eval(), _Kept(open_weights(weights, laid or {}, shapes), _KEPT_BYTES if fits else 0))

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Run the library's own forward.

        Raises:
            UserError: a weight is missing or of another shape, or the result is not finite.
        """
        with torch.no_grad():
            tensors = [torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in inputs]
            outputs = [np.array(tensor.numpy()) for tensor in self._forward(*tensors)]
        if not all(np.isfinite(output).all() for output in outputs):
            raise SourceError("the original itself, in PyTorch, gives infinities or NaNs: its weights are damaged")
        return outputs


class _Kept:
    """The tensors of a component, of which the first are kept once they were read, up to so many bytes."""

    def __init__(self, weights: Weights, most: int) -> None:
        self._weights = weights
        self._kept: dict[str, Array] = {}
        self._left = most

    def load(self, name: str) -> Array:
        if name in self._kept:
            return self._kept[name]
        array = self._weights.load(name)
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            self._kept[name] = array
        return array


def _stream(model: nn.Module, weights: _Kept) -> None:
    """Give each layer its weights only while it runs."""
    for path, module in model.named_modules():
        empty = dict(module.named_parameters(recurse=False))
        if empty:
            module.register_forward_pre_hook(_fetcher(f"{path}." if path else "", empty, weights))
            module.register_forward_hook(_dropper(empty))


def _fetcher(prefix: str, empty: Mapping[str, nn.Parameter], weights: _Kept) -> Callable[..., None]:
    def fetch(module: nn.Module, _inputs: Any) -> None:
        for name, parameter in empty.items():
            tensor = torch.from_numpy(weights.load(prefix + name)).float()
            if tensor.shape != parameter.shape:
                shapes = f"has shape {list(tensor.shape)}, config.json says {list(parameter.shape)}"
                raise SourceError(f"weights: {prefix}{name} {shapes}; they are not of the same model")
            setattr(module, name, nn.Parameter(tensor, requires_grad=False))

    return fetch


def _dropper(empty: Mapping[str, nn.Parameter]) -> Callable[..., None]:
    def drop(module: nn.Module, _inputs: Any, _outputs: Any) -> None:
        for name, parameter in empty.items():
            setattr(module, name, parameter)

    return drop
