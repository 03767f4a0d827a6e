"""The average of a UNet's weights that training kept (EMA), as latent-diffusion's ``LitEma`` saves it: names without points.

Beside the weights themselves each name is known. Where the average is alone, the points are put back: what stands between them
is one of the few words of a UNet's names, or a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sdbuild.sources.layouts.base import Component

UNET = "model.diffusion_model."
"""Before the names of the weights."""
AVERAGE = "model_ema."
_ALONE = "model_ema.diffusion_model"
_WORDS = re.compile(
    r"(?:in|out)put_blocks|middle_block|time_embed|label_emb|cond_proj"
    r"|(?:in|out|emb)_layers|skip_connection|op|conv|transformer_blocks|proj_(?:in|out)|proj"
    r"|attn[12]|to_(?:q|k|v|out)|norm[123]|norm|ff|net|out|weight|bias|\d+"
)
_TWO_NUMBERS = ("input_blocks", "output_blocks", "label_emb")
"""Behind these come two numbers, the second of one digit."""


def average_of(key: str) -> str:
    """The name of the average of a weight."""
    return AVERAGE + key.removeprefix("model.").replace(".", "")


def averages_beside(unet: Component | None, tensors: Iterable[str]) -> dict[str, str]:
    """Key of the average by that of the weight, of those that a file has beside the weights."""
    if unet is None or unet.prefix != UNET:
        return {}
    present = set(tensors)
    keys = {taken.key: average_of(taken.key) for taken in unet.names.values()}
    return {key: average for key, average in keys.items() if average in present}


def averages_alone(tensors: Iterable[str]) -> dict[str, str]:
    """Key of the average by that of the weight that it would be of, in a file that has no weights of a UNet."""
    tensors = list(tensors)
    if any(key.startswith(UNET) for key in tensors):
        return {}
    averages = [key for key in tensors if key.startswith(_ALONE)]
    return {UNET + name: key for key in averages if (name := _dotted(key.removeprefix(_ALONE))) is not None}


def _dotted(name: str) -> str | None:
    """A name with its points; None for one that is not of a UNet's words."""
    words: list[str] = []
    while name:
        match = _WORDS.match(name)
        if match is None:
            return None
        word, name = match[0], name[match.end() :]
        if words and words[-1] in _TWO_NUMBERS and word.isdecimal() and len(word) > 1:
            words.append(word[:-1])
            word = word[-1]
        words.append(word)
    return ".".join(words)
