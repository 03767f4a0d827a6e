"""What a file is that holds no model, by the names of its tensors, and where it belongs."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KINDS = (
    (
        r"(^|[._])lora(_|\.|$)|hada_w\d|lokr_w\d|(^|\.)(oft_|boft_|dora_scale|ia3_)",
        "a LoRA, which changes a model and is none",
        "name the model here, and this file under `model.loras:`",
    ),
    (
        r"^(emb_params|string_to_param|clip_[lg])$|^string_to_param\.|^<[^<>]+>$",
        "an embedding (textual inversion), which teaches a text encoder a word",
        "name the model here, and this file under `model.embeddings:`",
    ),
    (
        r"^control_model\.|(^|\.)(controlnet_cond_embedding|controlnet_down_blocks|input_hint_block|zero_convs)\.",
        "a ControlNet{}, which guides a model and is none",
        "name the model that it was made for",
    ),
    (r"^(image_proj|ip_adapter)\.", "an IP-Adapter", "images as prompts can't be built: name the model without it"),
    (
        r"(^|\.)(motion_modules?|temporal_transformer)\.",
        "motion modules of a video model",
        "videos can't be built: name the model for single images",
    ),
    (
        r"(^|\.)(joint_blocks|double_blocks|single_blocks|double_layers|double_stream_blocks|x_embedder|img_in"
        r"|txt_in|context_embedder|patch_embed|pos_embed)(\.|$)",
        "a model with a transformer for a UNet, such as Stable Diffusion 3 or Flux",
        "such can't be built yet: name a model of Stable Diffusion 1.x, 2.x or XL",
    ),
    (
        r"^(adapter|body)\.\d*\.?(conv_in|in_conv|block[12]|resnets)\b|^adapter\.(body|conv_in)\.",
        "a T2I-Adapter, which guides a model and is none",
        "name the model that it was made for",
    ),
    (
        r"^(model\.\d+\.|body\.\d+\.rdb|conv_first\.|RRDB_trunk\.|trunk_conv\.)",
        "a network that enlarges images (ESRGAN)",
        "name a model that generates some",
    ),
    (
        r"^((taesd_)?(en|de)coder\.(layers\.)?\d+\.|\d+\.(weight|bias|conv\.))",
        "a tiny VAE (TAESD), of another kind than Stable Diffusion's own",
        "name a VAE of the usual kind (AutoencoderKL)",
    ),
    (
        r"^(vision_model|visual|visual_projection)\.",
        "an image encoder (CLIP)",
        "name a model of Stable Diffusion",
    ),
)
_UNET = re.compile(r"^(model\.diffusion_model\.|input_blocks\.|down_blocks\.|unet\.)")
_VAE = re.compile(r"^(first_stage_model\.|vae\.)?(encoder|decoder)\.(down|up|mid|down_blocks|up_blocks|mid_block)\b")
_TEXT = re.compile(r"(^|\.)(text_model\.|token_embedding\.weight$|transformer\.resblocks\.)")
_AVERAGE = re.compile(r"^model_ema\.")
_SEVERAL = 10  # keys that make a part of a network, and no accident


def what_it_is(keys: Iterable[str], found: Iterable[str], guided: str = "") -> str:
    """A phrase for a file in which something was looked for in vain: what it is, and what to do.

    ``found`` are the folders of the components that it does hold; ``guided`` is what a ControlNet was made for, if known.
    """
    keys, found = sorted(keys), set(found)
    average = sum(_AVERAGE.search(key) is not None for key in keys)
    if average >= _SEVERAL and not any(_UNET.search(key) for key in keys):
        return (
            "of the UNet it has the average that training kept (EMA) alone; write `ema: true` under `model:` for that"
        )
    if found == {"vae"}:
        return "it is a VAE alone; name a model with a UNet here, and this file under `model.vae:`"
    if found and found <= {"text_encoder", "text_encoder_2"}:
        return "it is a text encoder alone; name a model with a UNet here, and this file under `model.text_encoder:`"
    if not keys:
        return "there are no tensors in it; get it again"
    for pattern, what, advice in _KINDS:
        compiled = re.compile(pattern)
        if any(compiled.search(key) for key in keys):
            return f"it is {what.format(f' for {guided}' if guided else '')}; {advice}"
    for part, what in ((_UNET, "UNet"), (_VAE, "VAE"), (_TEXT, "text encoder")):
        if sum(part.search(key) is not None for key in keys) >= _SEVERAL:
            return f"it has only a part of a {what}: one of several files of a model, or not whole; get the whole model"
    return f"its tensors ({', '.join(keys[:3])} …) are of no model that is known; name a model of Stable Diffusion"
