"""Between latent images and pixels."""

import numpy as np

from sdbuild.arrays import Array
from sdbuild.flow.backend import call
from sdbuild.networks import Network
from sdbuild.wiring import Part


def decode(network: Network, decoder: Part, latents: Array, scale: float) -> Array:
    """A latent image [1, channels, h, w] → its pixels, from -1 to 1 and somewhat beyond, [1, 3, H, W]."""
    return call(network, decoder, {"latents": latents / np.float32(scale)})["image"]


def encode_image(network: Network, encoder: Part, image: Array) -> tuple[Array, Array]:
    """Pixels from -1 to 1, [1, 3, H, W] → mean and standard deviation of the latent image [1, channels, h, w]."""
    mean, log_variance = np.split(call(network, encoder, {"image": image})["moments"], 2, axis=1)
    return mean, np.exp(0.5 * np.clip(log_variance, -30, 20))


def shown(image: Array) -> Array:
    """Pixels from -1 to 1 as they are shown: from 0 to 1."""
    result: Array = np.clip(image / 2 + 0.5, 0, 1)
    return result
