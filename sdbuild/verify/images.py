"""Images for networks to look at."""

import numpy as np
import torch

from sdbuild.arrays import Array
from sdbuild.flow.latents import shown

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the pixels that CLIP was trained on, ``OPENAI_CLIP_MEAN`` and ``OPENAI_CLIP_STD`` of transformers."""


def looked_at(image: Array, size: int) -> dict[str, Array]:
    """What a safety checker takes for a decoded image [1, 3, H, W], by signal: the image as its vision model wants it,
    float32 [1, 3, size, size]; one to blank [1, 512, 512, 3] in [0, 1]; no adjustment [1].
    """
    seen = torch.from_numpy(shown(image))

    def resized(side: int) -> torch.Tensor:
        return torch.nn.functional.interpolate(seen, (side, side), mode="bicubic", antialias=True).clamp(0, 1)

    mean, deviation = (torch.tensor(numbers)[:, None, None] for numbers in (_CLIP_MEAN, _CLIP_DEVIATION))
    canvas = resized(512).permute(0, 2, 3, 1)
    return {
        "view": ((resized(size) - mean) / deviation).numpy(),
        "canvas": canvas.contiguous().numpy(),
        "adjustment": np.zeros(1, np.float32),
    }


def synthetic_image(height: int, width: int) -> Array:
    """An image to encode, float32 [1, 3, height, width] in [-1, 1]: soft light, a disc with a sharp edge, fine stripes."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    disc = np.hypot(x + 0.2, y - 0.1) < 0.5
    stripes = 0.2 * np.sin(40 * (x + y)) * (y < -0.5)
    channels = [
        np.where(disc, level, light) + stripes for level, light in ((0.8, x / 2), (-0.6, y / 2), (-0.2, -x * y))
    ]
    return np.stack(channels)[None].clip(-1, 1).astype(np.float32)
