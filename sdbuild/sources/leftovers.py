"""Tensors of a checkpoint that no model of Stable Diffusion takes: what they are, and what to do about it.

A checkpoint may hold more than its ``config.json`` knows of. A library that loads it by names leaves the rest out, and what
the rest was for is lost without a word.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from sdbuild.errors import SourceError
from sdbuild.sources.base import shown

HARMLESS = (
    (r"(^|\.)position_ids$", "0, 1, 2 …, which the model makes itself; transformers saved them until 4.30"),
    (r"(^|\.)num_batches_tracked$", "a counter of training"),
    (r"^(model_ema\.)?(decay|num_updates)$", "counters of the average that training kept"),
    (r"^logit_scale$", "CLIP's scale for comparing images with texts"),
    (r"^text_projection\.weight$", "of a CLIP model whose class has no projection; transformers leaves it out as well"),
    (r"(^|\.)(v_pred|ztsnr)$", "marks that say how the UNet was trained; they are read with the scheduler"),
)
"""Names that may lie in a checkpoint unused, and why nothing is lost."""
_IMAGE_HALF = re.compile(r"^(vision_model|visual_projection)\.")
"""Of a whole CLIP model, saved as a text encoder; harmless where nothing of it is wanted."""

KINDS = (
    (
        r"(^|[._])lora(_|\.|$)|hada_w\d|lokr_w\d|(^|\.)(oft_|boft_|vera_|dora_scale|ia3_)",
        "LoRA or other adapter weights that were not merged",
        "merge them (in diffusers `fuse_lora`, then `unload_lora_weights` and `save_pretrained`; in PEFT `merge_and_unload`)",
    ),
    (
        r"_ip(\.|_adapter|$)|^(ip_adapter|image_proj|encoder_hid_proj)\.",
        "weights of an IP-Adapter",
        "images as prompts can't be built: name the model without it",
    ),
    (r"_custom_diffusion(\.|$)", "weights of Custom Diffusion", "name the model without them"),
    (
        r"(^|\.)(fuser|position_net)\.",
        "layers of GLIGEN, which takes boxes to place things in",
        "apps have none to give: name the model without it",
    ),
    (
        r"(^|\.)(motion_modules?|temporal_[a-z]+|temp_(attentions|convs?)|transformer_in)\.",
        "motion modules of a video model",
        "videos can't be built: name the model for single images",
    ),
    (
        r"\.norm_(added_)?[qk]\.",
        "norms of queries and keys (qk_norm)",
        "the model's class has none, so that it would generate noise: name another model",
    ),
    (
        r"(^|\.)(controlnet_[a-z_]+|zero_convs|input_hint_block|controlnet)\.",
        "layers of a ControlNet",
        "name the UNet alone",
    ),
    (
        r"(^|\.)(scale_weight|scale_input|weight_scale(_inv|_2)?|input_scale|scaled_fp8|comfy_quant|absmax|quant_map|SCB"
        r"|qweight|qzeros|qscales|g_idx|nested_absmax|zero_point)$|\.quant_state\.|\.weight\._(data|scale|shift)$|\.weight_format$",
        "scales of quantized weights, whose numbers mean nothing without them",
        "name the model in float16 or bfloat16, and compress in the recipe (`compress:`)",
    ),
    (
        r"^(model\.diffusion_model|first_stage_model|cond_stage_model|conditioner\.embedders)\.",
        "weights under the names of single-file checkpoints",
        "name the file itself as the source (`./file.safetensors`), or as `vae:` or `text_encoder:`",
    ),
    (
        r"^(model_ema|ema_model|ema)\.",
        "a second set of weights, the average (EMA) that training kept",
        "save the set that is meant, alone",
    ),
    (
        r"(^|\.)(edm_[a-z]+|edm_vpred)(\.|$)",
        "marks of sampling as EDM has it",
        "no scheduler of the Swift package works so: name another model",
    ),
    (r"^(loss|discriminator)\.", "what only training needs, such as a discriminator", "save the model alone"),
)
"""Patterns of names, what such tensors are, and what to do."""

WRAPPERS = (
    (r"(^|\.)_orig_mod\.", "torch.compile had wrapped the model: save its `_orig_mod`"),
    (r"^base_model\.model\.|\.base_layer\.", "PEFT had wrapped the model: save what `merge_and_unload()` returns"),
    (r"\.original_module\.", "PEFT had wrapped the model: save what `merge_and_unload()` returns"),
    (
        r"(^|\.)_fsdp_wrapped_module\.|(^|\.)_checkpoint_wrapped_module\.",
        "training had wrapped it: save the module inside",
    ),
    (r"^module\.", "DataParallel had wrapped the model: save its `module`"),
)
"""What libraries put into names while they have a model in their hands, and what to save instead."""

_NAMED = 4  # names in a message


def check_names(where: str, names: Iterable[str]) -> None:
    """Refuse what is certain from names alone, before anything is known of the model.

    Raises:
        UserError: tensors of one of `KINDS`.
    """
    names = sorted(names)
    for pattern, what, advice in KINDS:
        if found := [name for name in names if re.search(pattern, name)]:
            raise SourceError(f"{where}: {listed(found)}: {what}, which a build would leave out; {advice}")


WEIGHT_TYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""What weights may be, by the names of the safetensors format."""


def type_problem(where: str, name: str, found: str) -> str:
    """What to say of a tensor that cannot be a weight."""
    return f"{where}: {shown(name)} is of type {found}; weights are of {', '.join(WEIGHT_TYPES)}"


def unused(stored: Mapping[str, int], used: Collection[str], wanted: Collection[str]) -> tuple[list[str], list[str]]:
    """Of the tensors in a checkpoint those that are neither used nor `HARMLESS`: with numbers in them, and empty ones.

    ``stored``: number of elements by name; ``used``: names of those that the model takes, ``wanted``: by the model's own names.
    """
    patterns = [re.compile(pattern) for pattern, _ in HARMLESS]
    if not any(_IMAGE_HALF.search(name) for name in wanted):
        patterns.append(_IMAGE_HALF)
    left = sorted(name for name in stored if name not in used and not any(p.search(name) for p in patterns))
    return [name for name in left if stored[name]], [name for name in left if not stored[name]]


def refuse(where: str, names: Iterable[str]) -> None:
    """Stop over unused tensors, if there are any, with the advice that fits.

    Raises:
        UserError: there are.
    """
    names = list(names)
    check_names(where, names)
    if names:
        raise SourceError(
            f"{where}: {listed(names)}: config.json knows of no such tensor{'s' if len(names) > 1 else ''}, and a build would "
            "leave out what they do. The weights and config.json are not of the same model"
        )


def wrapped(name: str, stored: Iterable[str]) -> str | None:
    """For a name that is missing: the one it has in the file because of a wrapper, and what to do."""
    for other in stored:
        plain, advice = other, ""
        for pattern, remedy in WRAPPERS:
            bare = re.sub(pattern, lambda match: "." if match[0].startswith(".") else "", plain)
            plain, advice = bare, advice or (remedy if bare != plain else "")
        if plain == name and advice:
            return f"it is there as {shown(other)}, for {advice}"
    return None


def listed(names: list[str]) -> str:
    """Names in a message: the first few, and how many more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(shown, names[:_NAMED])) + more
