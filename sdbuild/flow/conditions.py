"""From prompts to what the denoiser takes beside the latent image and the time."""

from collections.abc import Sequence

import numpy as np

from sdbuild.arrays import Array
from sdbuild.flow.backend import Backend, Signals, call
from sdbuild.flow.facts import Facts

Condition = Signals
"""For one prompt: the context of attention, and, where text encoders give it, the embedding of the whole; sizes."""


def encode(
    backend: Backend, facts: Facts, prompts: Sequence[str], sizes: tuple[int, int] | None = None
) -> list[Condition]:
    """The condition of each prompt. Each text encoder is opened once.

    ``sizes``, height and width, is what a denoiser that takes sizes is given for the original image and the one to come; None:
    those of the image.
    """
    found = []
    for part in facts.text_encoders:
        tokens = [backend.tokenize(part, prompt) for prompt in prompts]
        with backend.network(part) as network:
            found.append([call(network, part, {"tokens": each}) for each in tokens])
    return [{**_joined(each), **size_condition(facts, sizes)} for each in zip(*found, strict=True)]


def _joined(encoded: Sequence[Signals]) -> dict[str, Array]:
    """What the text encoders give for a prompt, side by side: hidden [1, width of all, 1, tokens], pooled [1, width]."""
    hidden = np.concatenate([each["hidden"] for each in encoded], axis=2).transpose(0, 2, 1)[:, :, None]
    pooled = [each["pooled"] for each in encoded if "pooled" in each]
    return {"hidden": hidden} | ({"pooled": np.concatenate(pooled, axis=1)} if pooled else {})


def size_condition(facts: Facts, sizes: tuple[int, int] | None = None) -> dict[str, Array]:
    """Original size, corner of the crop and target size, each height before width [1, 6], for a denoiser that takes them."""
    if not facts.takes_sizes:
        return {}
    height, width = sizes or (facts.height, facts.width)
    return {"sizes": np.array([[height, width, 0, 0, height, width]], np.float32)}
