"""How the networks of a pipeline are joined: the role of each, what its ports carry, and of what sizes that is.

Nothing heavy is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROLES: Mapping[str, str] = {
    "text_encoder": "turns token IDs into what the denoiser attends to; with several, their results are put side by side",
    "denoiser": "predicts the noise in a latent image, step by step",
    "decoder": "turns a latent image into pixels",
    "encoder": "turns pixels into the distribution of a latent image",
    "checker": "says whether an image may be shown",
}

GIVES: Mapping[str, str] = {
    "text_encoder": "hidden",
    "denoiser": "noise",
    "decoder": "image",
    "encoder": "moments",
    "checker": "verdict",
}
"""What a network of a role gives, whatever else it does."""

SIGNALS: Mapping[str, str] = {
    "tokens": "token IDs of a prompt, [1, tokens]",
    "hidden": "an embedding of each token: from a text encoder [1, tokens, width], to the denoiser [batch, width, 1, tokens]",
    "pooled": "an embedding of the whole prompt, [batch, width]",
    "sizes": "original size, upper left corner of the crop, target size, in pixels, height before width, [batch, 6]",
    "time": "the position in the noise schedule, [batch]",
    "latents": "a latent image, [batch, channels, height, width]",
    "noise": "what the denoiser predicts, of the shape of the latent image",
    "image": "pixels from -1 to 1, [1, 3, height, width]",
    "moments": "means, then logarithms of variances, of a latent image, [1, 2 * channels, height, width]",
    "view": "an image as a safety checker's vision model takes it, [1, 3, side, side]",
    "canvas": "an image for a safety checker to blank, [1, height, width, 3]",
    "adjustment": "added to the scores of concepts of special care, [1]",
    "verdict": "above 0 for an image that should not be shown",
    "scores": "of the concepts that a safety checker looks for",
}
"""What the ports of networks carry, with shapes; between the networks arrays are known by these words."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What whoever runs a pipeline must know of its tensors."""

    height: int
    """Of an image, in pixels."""
    width: int
    """Likewise."""
    batch: int
    """Of the denoiser: 2 takes both halves of guidance at once, 1 one after the other."""
    tokens: int
    """The length of a prompt."""
    latent_channels: int
    """Of a latent image."""
    vae_factor: int
    """Pixels for one latent pixel, along each side."""
    vae_scale: float
    """Latent images are multiplied by it after encoding, and divided by it before decoding."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network's part in a pipeline."""

    name: str
    """The component's."""
    role: str
    """One of `ROLES`."""
    inputs: Mapping[str, str]
    """Port → what it takes, of `SIGNALS`."""
    outputs: Mapping[str, str]
    """Port → what it gives, likewise; outputs that nothing uses are left out."""
    padding: str = ""
    """Of a text encoder: the token that fills a short prompt up."""
    models: tuple[str, ...] = field(default=())
    """The compiled models that compute it, chunks in their order."""

    def input(self, signal: str) -> str | None:
        """The port that takes a signal, if there is one."""
        return next((port for port, taken in self.inputs.items() if taken == signal), None)

    def data(self) -> dict[str, Any]:
        """As plain data, see `part_of`."""
        return {
            "name": self.name,
            "role": self.role,
            "inputs": dict(self.inputs),
            "outputs": dict(self.outputs),
            "models": list(self.models),
            **({"padding": self.padding} if self.padding else {}),
        }


def part_of(data: Mapping[str, Any]) -> Part:
    """A part from what `Part.data` gave.

    Raises:
        TypeError, KeyError: it is something else.
    """
    if not isinstance(data["models"], list):
        raise TypeError(data)
    texts = (data["name"], data["role"], data.get("padding", ""), *data["models"])
    ports = ({**data["inputs"]}, {**data["outputs"]})
    if not all(
        isinstance(text, str) for text in (*texts, *(word for port in ports for pair in port.items() for word in pair))
    ):
        raise TypeError(data)
    return Part(
        name=data["name"],
        role=data["role"],
        inputs=ports[0],
        outputs=ports[1],
        padding=data.get("padding", ""),
        models=tuple(data["models"]),
    )
