"""Which family a UNet is of, told from its configuration: asked by recipes of local models, and by the first stage of all."""

from collections.abc import Mapping
from typing import Any

TITLES = {"sd1": "Stable Diffusion 1", "sd2": "Stable Diffusion 2", "sdxl": "Stable Diffusion XL"}
_WIDTHS = {768: "sd1", 1024: "sd2"}
"""Numbers a token that a UNet attends to, where they tell the family."""


def mismatch(unet: Mapping[str, Any], family: str) -> tuple[str, str] | None:
    """Why a UNet is not of a family, and what the recipe should say; None where nothing speaks against it."""
    found, why = _family_of(unet)
    if found is not None and found != family:
        return f"the UNet is one of {TITLES[found]} ({why})", f"write `pipeline: {found}`"
    if found is None and family == "sdxl":
        what = f"the UNet is not one of {TITLES[family]} (it takes no image sizes besides the prompt)"
        return what, "write `pipeline: sd1` or `pipeline: sd2`"
    return None


def _family_of(unet: Mapping[str, Any]) -> tuple[str | None, str]:
    if unet.get("addition_embed_type") == "text_time":
        return "sdxl", "it takes image sizes besides the prompt"
    width = unet.get("cross_attention_dim")
    if type(width) is int and width in _WIDTHS:
        return _WIDTHS[width], f"it attends to {width} numbers a token"
    return None, ""  # a small one of somebody's own
