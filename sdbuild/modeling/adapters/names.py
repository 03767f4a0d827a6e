"""A tensor's name in an adapter's file: that of a layer, in any naming, and what the tensor is of the layer's difference."""

import re

_TENSORS = (
    (r"[._]lora\.up\.weight|_lora\.up\.weight|\.lora_linear_layer\.up\.weight", "lora_up"),
    (r"[._]lora\.down\.weight|_lora\.down\.weight|\.lora_linear_layer\.down\.weight", "lora_down"),
    (r"\.lora_up\.weight|\.lora_B(\.(?P<adapter>\w+))?\.weight", "lora_up"),
    (r"\.lora_down\.weight|\.lora_A(\.(?P<adapter>\w+))?\.weight", "lora_down"),
    (r"\.lora_mid\.weight", "lora_mid"),
    (r"\.lora_linear_layer\.alpha|[._]lora\.alpha", "alpha"),
    (r"\.(?P<same>hada_(w[12]_[ab]|t[12])|lokr_(w[12]|w[12]_[ab]|t2)|diff|diff_b|alpha)", ""),
    (r"\.w_norm", "diff"),
    (r"\.b_norm", "diff_b"),
    (r"\.dora_scale", "magnitude"),
    (r"\.lora_magnitude_vector(\.\w+)?", "magnitude_of_outputs"),
)
"""Endings, and what the tensor is: by the names that kinds have for theirs, ``alpha`` or a magnitude. The first are diffusers'
before it took PEFT's, then kohya's, PEFT's and LyCORIS's."""
_ENDINGS = [(re.compile(rf"(?P<layer>.+?)({ending})"), tensor) for ending, tensor in _TENSORS]

FOREIGN = (
    (r"\.oft_(blocks|diag|R)|(^|[._])b?oft_|\.rescale$", "OFT or BOFT, which multiplies weights by rotations"),
    (r"\.on_input$|\.ia3_|(^|\.)ia3_", "IA³, which scales activations"),
    (r"\.(a1|a2|b1|b2|bm1|bm2)\.weight$", "GLoRA"),
    (r"\.vera_lambda|(^|\.)vera_", "VeRA"),
    (r"^bundle_emb\.", "embeddings of tokens; take them apart, and name them in `model.embeddings`"),
    (r"\.set_weight$|\.reshape_weight$", "weights that replace those of the model"),
    (r"\.lora_embedding_[AB]", "a LoRA of a token embedding"),
    (r"\.lora_[B]\.bias|\.lora_up\.bias", "a bias of a LoRA"),
)
"""Patterns of names, and what such tensors are that no kind takes."""


def split(key: str) -> tuple[str, str] | None:
    """The layer and the tensor; None for a name that has none of the endings."""
    for pattern, tensor in _ENDINGS:
        if found := pattern.fullmatch(key):
            return found["layer"], tensor or found["same"]
    return None


def adapter(key: str) -> str | None:
    """What PEFT calls the adapter, where a name says it: files may hold several."""
    found = next(filter(None, (pattern.fullmatch(key) for pattern, _ in _ENDINGS)), None)
    return found.groupdict().get("adapter") if found else None


def foreign(key: str) -> str | None:
    """What a tensor is that no kind takes, where that is known."""
    return next((what for pattern, what in FOREIGN if re.search(pattern, key)), None)
