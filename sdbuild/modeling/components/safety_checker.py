"""The safety checker as a module to trace: diffusers' own vision model and thresholds, told in tensors.

diffusers compares and blanks in Python; here the same decisions are products and maxima, so that they are part of the model.
Ports and arithmetic as the safety checker of apple/ml-stable-diffusion @e12202c has them (``convert_safety_checker``).
"""

from collections.abc import Mapping
from typing import Any

from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import Tensor, cat, linalg, nn
from torch.nn import functional
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings

from sdbuild.modeling import library

_STRICTER = 0.01
"""Added to every score of an image that shows a concept of special care."""


def build(config: Mapping[str, Any]) -> nn.Module:
    """It has no options."""
    return _SafetyChecker(library.safety_checker(config))


def dimensions(config: Mapping[str, Any]) -> dict[str, int]:
    """``vision_channels`` and ``vision_size``, the side, of the image that its vision model looks at."""
    vision = library.vision_config(config)
    return {"vision_channels": vision.num_channels, "vision_size": vision.image_size}


class _SafetyChecker(nn.Module):
    """Whether an image may be shown.

    clip_input [1, 3, S, S] (S: the vision model's image size), images [1, H, W, 3] and adjustment [1], which is added to the
    scores of the concepts of special care → filtered_images, the images or zeros; has_nsfw_concepts [1, 1, 1, 1], bool;
    concept_scores [1, concepts], those above 0 speak against the image.
    """

    def __init__(self, model: StableDiffusionSafetyChecker) -> None:
        """Wrap diffusers' model, which is changed in place."""
        super().__init__()
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, CLIPVisionEmbeddings):
                    setattr(parent, name, _Embeddings(child))
        self.model = model

    def forward(self, clip_input: Tensor, images: Tensor, adjustment: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        model = self.model
        seen = _unit(model.visual_projection(model.vision_model(clip_input).pooler_output))
        special = (
            functional.linear(seen, _unit(model.special_care_embeds), -model.special_care_embeds_weights) + adjustment
        )
        scores = functional.linear(seen, _unit(model.concept_embeds), -model.concept_embeds_weights)
        scores = scores + _STRICTER * (special.amax(dim=1, keepdim=True) > 0).to(scores.dtype)
        worst = scores.amax(dim=1)[:, None, None, None]
        return images * (worst <= 0).to(images.dtype), worst > 0, scores


def _unit(vectors: Tensor) -> Tensor:
    """[N, D], each of length one."""
    unit: Tensor = vectors / linalg.vector_norm(vectors, dim=1, keepdim=True)
    return unit


class _Embeddings(nn.Module):
    """Patches and their places, under the library's names; its own buffer of places has no content on the meta device."""

    def __init__(self, embeddings: Any) -> None:
        super().__init__()
        self.class_embedding = embeddings.class_embedding
        self.patch_embedding, self.position_embedding = embeddings.patch_embedding, embeddings.position_embedding

    def forward(self, pixel_values: Tensor, **_: Any) -> Tensor:
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        whole = self.class_embedding.expand(patches.shape[0], 1, -1)
        placed: Tensor = cat([whole, patches], dim=1) + self.position_embedding.weight
        return placed
