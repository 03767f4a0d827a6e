"""The safety checker, as diffusers has it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker, cosine_distance
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings

from sdbuild.modeling import library
from sdbuild.verify.originals import Forward


def build(config: Mapping[str, Any]) -> tuple[nn.Module, Forward]:
    """It has no options."""
    model: Any = library.safety_checker(config, _SafetyChecker)
    for module in model.modules():
        if isinstance(module, CLIPVisionEmbeddings):  # its own buffer of places has no content on the meta device
            module.register_buffer("position_ids", torch.arange(module.num_positions, device="cpu")[None], False)
    return model, model


class _SafetyChecker(StableDiffusionSafetyChecker):  # type: ignore[misc]
    """The library's verdict, and the scores behind it, which it does not give; its own adjustment is always 0."""

    def forward(self, seen: Tensor, images: Tensor, adjustment: Tensor) -> Sequence[Tensor]:
        vectors: list[Tensor] = []
        listener = self.visual_projection.register_forward_hook(lambda _module, _inputs, output: vectors.append(output))
        filtered, unsafe = self.forward_onnx(seen, images.clone())
        listener.remove()
        special = cosine_distance(vectors[0], self.special_care_embeds) - self.special_care_embeds_weights + adjustment
        scores = cosine_distance(vectors[0], self.concept_embeds) - self.concept_embeds_weights
        return filtered, unsafe.float()[:, None, None, None], scores + 0.01 * (special > 0).any()
