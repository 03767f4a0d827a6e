"""A bundle's safety checker, asked as the app asks it."""

import numpy as np
from PIL import Image

from sdbuild.arrays import Array
from sdbuild.flow.backend import call
from sdbuild.generate.backend import BundleNetwork
from sdbuild.wiring import Part

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def is_safe(network: BundleNetwork, checker: Part, pixels: Array) -> bool:
    """Whether an image, uint8 [H, W, 3], may be shown. Raises UserError for an overflow.

    As the app asks: the image is squeezed into the model's square and normalised by the mean and the standard deviation of
    ImageNet (not CLIP's, as diffusers does), and the image that the model would blank is zeros.
    """
    *_, height, width = network.shape("view")
    seen = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS), np.float32) / 255
    given: dict[str, Array] = {
        "view": ((seen - _IMAGENET_MEAN) / _IMAGENET_DEVIATION).transpose(2, 0, 1)[None],
        "canvas": np.zeros(network.shape("canvas"), np.float32),
        "adjustment": np.zeros(1, np.float32),
    }
    return not call(network, checker, given)["verdict"].any()
