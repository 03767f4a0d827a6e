"""What a file of tensors is for, as far as names and shapes tell: for the one line that says why it is the wrong one."""

import re
from collections.abc import Mapping

from sdbuild.modeling.adapters.kinds import Shape
from sdbuild.modeling.adapters.names import split

_WIDTHS = {
    768: "Stable Diffusion 1",
    1024: "Stable Diffusion 2",
    2048: "Stable Diffusion XL",
    1280: "the refiner of Stable Diffusion XL",
}
"""How many numbers a token has for the UNet's attention, whose layers to_k and to_v take them."""
_ATTENDS = re.compile(r"attn2[._](processor[._])?to_[kv]$")

_OTHERS = (
    (r"single_transformer_blocks|single_blocks|double_blocks", "a LoRA for FLUX"),
    (
        r"joint_blocks|^transformer\.transformer_blocks|^lora_transformer_|add_k_proj",
        "a LoRA for a transformer such as Stable Diffusion 3's",
    ),
    (
        r"^(diffusion_model\.)?(blocks|layers)\.\d|^lora_unet_blocks_\d",
        "a LoRA for a video model or another transformer",
    ),
    (r"^lora_prior_|^(prior|decoder)_", "a LoRA for Kandinsky or Stable Cascade"),
    (r"^lora_controlnet|controlnet_cond_embedding|input_hint_block|zero_convs|controlnet_down_blocks", "a ControlNet"),
    (r"(^|\.)motion_modules?\.|temporal_transformer", "a motion module"),
    (r"^(ip_adapter|image_proj)\.|to_[kv]_ip\.", "an IP-Adapter"),
    (r"^(emb_params|clip_[lg])$|^string_to_param", "an embedding of a token: name it in `model.embeddings`"),
    (
        r"^(model\.diffusion_model|cond_stage_model|conditioner\.embedders)\.",
        "a whole model in one file: name it as the model's `source`",
    ),
    (
        r"^(down_blocks|up_blocks|mid_block|time_embedding|conv_in)\.",
        "a UNet of diffusers: name its model as the `source`",
    ),
    (r"^(first_stage_model\.)?(encoder|decoder)\.(down|up|mid|conv_in)", "a VAE: name it as `model.vae`"),
    (r"^(text_model\.)?(encoder\.layers|embeddings)\.", "a text encoder"),
)
"""Patterns of names, and what has such."""


def purpose(stored: Mapping[str, Shape]) -> str | None:
    """In a few words; None for what can't be told."""
    family = family_of(stored)
    if family is not None:
        return f"a LoRA for {family}"
    for pattern, what in _OTHERS:
        if any(re.search(pattern, name) for name in stored):
            return what
    return None


def family_of(stored: Mapping[str, Shape]) -> str | None:
    """The family that an adapter's UNet layers, or its text encoders, are of."""
    for name, shape in stored.items():
        layer, tensor = split(name) or ("", "")
        if not _ATTENDS.search(layer):
            continue
        width = shape[-1] if tensor in ("lora_down", "hada_w1_b", "diff") and len(shape) == 2 else None
        if tensor == "lora_down" and len(shape) == 4:
            width = shape[1]
        if width in _WIDTHS:
            return _WIDTHS[width]
    if any(name.startswith(("lora_te2_", "text_encoder_2.")) for name in stored):
        return "Stable Diffusion XL"
    return None
