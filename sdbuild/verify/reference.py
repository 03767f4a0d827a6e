"""The PyTorch originals: the modules of diffusers and transformers as they are, in float32.

Nothing of ours takes part but the reading of configurations and checkpoints: not the reshaped attention, nor the wrappers that
are traced.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker, cosine_distance
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings

from sdbuild.arrays import Array
from sdbuild.errors import SourceError
from sdbuild.modeling import library
from sdbuild.modeling.checkpoint import Checkpoint, read_config, weight_files

_KEPT_BYTES = 1 << 30
"""Of weights as they are stored. A text encoder and a VAE fit."""


class Reference:
    """A component in PyTorch: float32 arrays in the order of its inputs to arrays in the order of its outputs.

    A layer gets its weights in float32 when it runs, and loses them after it, so that only one layer of a model is in memory
    at a time. As they are stored, up to `_KEPT_BYTES` of them are kept between calls; what is beyond is read again.
    """

    def __init__(self, kind: str, config: Path, weights: Path, vae_scale: float | None = None) -> None:
        """Build the module of a ``kind`` of `sdbuild.modeling.components` from ``config.json`` and a folder of weights.

        The latent images of a VAE are such as were divided by ``vae_scale``; None: by its own ``scaling_factor``.

        Raises:
            UserError: the weights cannot be read.
        """
        self._forward, build = _KINDS[kind]
        with torch.device("meta"):
            model: Any = build(read_config(config)).eval()
        model.vae_scale = vae_scale
        self._model = model
        _stream(self._model, _Weights(Checkpoint(weight_files(weights))))

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Run the library's own forward.

        Raises:
            UserError: a weight is missing or of another shape, or the result is not finite.
        """
        with torch.no_grad():
            tensors = [torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in inputs]
            outputs = [np.array(tensor.numpy()) for tensor in self._forward(self._model, *tensors)]
        if not all(np.isfinite(output).all() for output in outputs):
            raise SourceError("the original itself, in PyTorch, gives infinities or NaNs: its weights are damaged")
        return outputs


class _Weights:
    """The tensors of a checkpoint, of which the first are kept once they were read."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._kept: dict[str, Array] = {}
        self._left = _KEPT_BYTES

    def load(self, name: str) -> Array:
        if name in self._kept:
            return self._kept[name]
        array = self._checkpoint.load(name)
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            self._kept[name] = array
        return array


def _stream(model: nn.Module, weights: _Weights) -> None:
    """Give each layer its weights only while it runs."""
    for path, module in model.named_modules():
        empty = dict(module.named_parameters(recurse=False))
        if empty:
            module.register_forward_pre_hook(_fetcher(f"{path}." if path else "", empty, weights))
            module.register_forward_hook(_dropper(empty))


def _fetcher(prefix: str, empty: Mapping[str, nn.Parameter], weights: _Weights) -> Callable[..., None]:
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


def _text(model: Any, ids: Tensor, **options: Any) -> Any:
    # The model's own buffer of positions has no content on the meta device.
    return model(ids.long(), position_ids=torch.arange(ids.shape[1])[None], **options)


def _encode(model: Any, ids: Tensor) -> Sequence[Tensor]:
    result = _text(model, ids)
    return result.last_hidden_state, result.pooler_output


def _encode_pooled(model: Any, ids: Tensor) -> Sequence[Tensor]:
    result = _text(model, ids, output_hidden_states=True)
    return result.hidden_states[-2], result.text_embeds if "text_embeds" in result else result.pooler_output


def _denoise(model: Any, sample: Tensor, timestep: Tensor, context: Tensor, *added: Tensor) -> Sequence[Tensor]:
    conditions = dict(zip(("time_ids", "text_embeds"), added, strict=True)) if added else None
    return (model(sample, timestep, context.squeeze(2).transpose(1, 2), added_cond_kwargs=conditions).sample,)


def _decode(model: Any, z: Tensor) -> Sequence[Tensor]:
    return (model.decode(z * (1 / _ratio(model)) + (model.config.shift_factor or 0)).sample,)


def _encode_image(model: Any, image: Tensor) -> Sequence[Tensor]:
    mean, log_variance = model.encode(image).latent_dist.parameters.chunk(2, dim=1)
    mean = (mean - (model.config.shift_factor or 0)) * _ratio(model)
    return (torch.cat([mean, log_variance + 2 * math.log(_ratio(model))], 1),)


def _ratio(model: Any) -> float:
    return float(model.config.scaling_factor / (model.vae_scale or model.config.scaling_factor))


def _judge(model: Any, seen: Tensor, images: Tensor, adjustment: Tensor) -> Sequence[Tensor]:
    return model(seen, images, adjustment)  # type: ignore[no-any-return]


class _SafetyChecker(StableDiffusionSafetyChecker):  # type: ignore[misc]
    """The library's verdict, and the scores behind it, which it does not tell; its own adjustment is always 0."""

    def forward(self, seen: Tensor, images: Tensor, adjustment: Tensor) -> Sequence[Tensor]:
        vectors: list[Tensor] = []
        listener = self.visual_projection.register_forward_hook(lambda _module, _inputs, output: vectors.append(output))
        filtered, unsafe = self.forward_onnx(seen, images.clone())
        listener.remove()
        special = cosine_distance(vectors[0], self.special_care_embeds) - self.special_care_embeds_weights + adjustment
        scores = cosine_distance(vectors[0], self.concept_embeds) - self.concept_embeds_weights
        return filtered, unsafe.float()[:, None, None, None], scores + 0.01 * (special > 0).any()


def _checker(config: dict[str, Any]) -> nn.Module:
    model: nn.Module = library.safety_checker(config, _SafetyChecker)
    for module in model.modules():
        if isinstance(module, CLIPVisionEmbeddings):  # its own buffer of places has no content on the meta device
            module.register_buffer("position_ids", torch.arange(module.num_positions, device="cpu")[None], False)
    return model


_KINDS: dict[str, tuple[Callable[..., Sequence[Tensor]], Callable[[dict[str, Any]], nn.Module]]] = {
    "clip_text": (_encode, library.text_encoder),
    "clip_text_pooled": (_encode_pooled, library.text_encoder),
    "unet": (_denoise, library.unet),
    "unet_xl": (_denoise, library.unet),
    "vae_decoder": (_decode, library.vae),
    "vae_encoder": (_encode_image, library.vae),
    "safety_checker": (_judge, _checker),
}
